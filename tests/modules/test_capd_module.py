"""CAPD: each side learns from its own loss, the run is like any other, two processes equal one."""

import json
import os
from pathlib import Path

import lightning as L
import pytest
import torch
from capd_run import CNN, RISING, SOURCE, VIT, WEIGHTS, fit, make_data, make_module, make_teacher
from config_base import composed
from processes import found_by
from safetensors.torch import save_file

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.checkpoint import last
from kdbias.config.build import allow, build
from kdbias.config.errors import ArgumentError
from kdbias.models.checkpoint import load_student
from kdbias.models.teacher import Teacher
from kdbias.train import train

AS_CODE = {"projector": "linear", "partial": False, "matched": "logits", "adversary": "patchgan", "layer": 2}
KINDS = {"paper": {}, "code": AS_CODE, "no_adversary": {"adversary": "none"}}


class Interrupt(L.Callback):
    """Crash in the last epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 1):
            raise KeyboardInterrupt


class Gradients(L.Callback):
    """Keep for each step the parameters without a gradient, and those whose gradient is 0."""

    def __init__(self) -> None:
        self.missing, self.zero, self.progress = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.progress.append(pl_module.progress)

    def on_after_backward(self, trainer, pl_module):
        named = list(pl_module.named_parameters())
        self.missing.append({name for name, p in named if p.grad is None})
        self.zero.append({name for name, p in named if p.grad is not None and not p.grad.any()})


@pytest.mark.parametrize("kind", ["paper", "code"])
def test_each_side_learns_from_its_own_loss_and_no_gradient_crosses(kind):
    module = make_module(**KINDS[kind])
    batch = next(iter(make_data().batches("train", device="cpu")))
    found = module.comparison(module.student(batch.image), module.teacher(batch.image))
    terms, opposing = module.judge(found)
    assert terms.keys() == WEIGHTS.keys()
    mine = [*module.student.parameters(), *module.comparison.parameters()]
    theirs = list(module.adversary.parameters())
    for loss, own, other in ((terms["adversary"], mine, theirs), (opposing, theirs, mine)):
        given = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.abs().max() > 0 for gradient in given)
        assert torch.autograd.grad(loss, other, retain_graph=True, allow_unused=True) == (None,) * len(other)
    reached = torch.autograd.grad(terms["adversary"], module.student.network.conv1.weight)[0]
    assert reached.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_in_one_optimiser_and_has_a_gradient_in_every_step(kind):
    seen, teacher = Gradients(), make_teacher()
    module = fit(make_module(teacher=teacher, **KINDS[kind]), [seen])
    held = [id(p) for one in module.trainer.optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.parameters())
    assert len(module.trainer.optimizers) == 1 + (kind != "no_adversary")
    assert seen.missing == [set()] * 12  # DDP raises an error at one
    waits = [progress <= RISING["begin"] for progress in seen.progress]
    assert waits == [True] * 5 + [False] * 7
    own = {name for name, _ in module.named_parameters() if not name.startswith("student.")}
    assert seen.zero[0] >= own
    assert not any(seen.zero[step] & own for step in range(6, 12))
    assert teacher.asked == 7  # not while the weight is 0
    assert module.global_step == 12


def test_the_adversary_waits_and_then_learns():
    before = make_module().adversary.state_dict()
    states = {}

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            states[trainer.global_step] = {k: v.clone() for k, v in pl_module.adversary.state_dict().items()}

    fit(make_module(), [Look()])
    assert all(torch.equal(before[name], states[5][name]) for name in before)
    assert all(not torch.equal(before[name], states[12][name]) for name in before)


def test_the_loss_is_the_weighted_sum_and_parts_are_logged():
    module = make_module(weight=0.5, partial=False)
    batch = next(iter(make_data().batches("train", device="cpu")))
    stepped, recorded = [], {}
    module.descend = lambda loss, oppose: stepped.append((float(loss.detach()), oppose))
    module.record = lambda loss, parts: recorded.update(parts, total=loss.detach())
    module.logs_step = lambda _: False
    module._trainer = type("T", (), {"global_step": 0, "estimated_stepping_batches": 4})()
    module.training_step(batch, 0)
    parts = {name: float(value) for name, value in recorded.items()}
    expected = parts["ce"] + 0.5 * sum(weight * parts[name] for name, weight in WEIGHTS.items())
    assert parts["total"] == pytest.approx(expected)
    assert stepped == [(pytest.approx(expected + parts["adversary_loss"]), True)]


def test_a_killed_run_that_is_resumed_ends_as_if_nothing_had_been(tmp_path):
    whole = fit(make_module(), [EMA(begin=0.3)])
    fit(make_module(), [EMA(begin=0.3), last(folder=str(tmp_path)), Interrupt()])
    resumed = fit(make_module(), [EMA(begin=0.3)], resume=tmp_path / "last.ckpt")
    one, two = whole.state_dict(), resumed.state_dict()
    assert {name.split(".")[0] for name in one} == {"student", "comparison", "adversary"}
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    for mine, theirs in zip(whole.trainer.optimizers, resumed.trainer.optimizers, strict=True):
        for before, after in zip(mine.state.values(), theirs.state.values(), strict=True):
            assert all(torch.equal(before[key], after[key]) for key in before)
    assert whole.global_step == resumed.global_step == 12


@pytest.mark.parametrize("augment", [{}, {"mixup": 0.8, "cutmix": 1.0, "mix_probability": 1.0}])
def test_it_trains_in_bf16_and_on_mixed_images(augment):
    module = fit(make_module(), precision="bf16-mixed", data=make_data(**augment))
    metrics = module.trainer.callback_metrics
    assert all(torch.isfinite(value) for value in metrics.values())
    assert ("train/accuracy" in metrics) is not bool(augment)
    assert metrics["train/adversary_loss"] > 0


def trained(rank: int, world: int) -> dict[str, dict[str, torch.Tensor]]:
    """The state of two runs by Lightning, in a process of ``world``: with BatchNorm, and without."""
    os.environ["LOCAL_RANK"] = str(rank)  # Lightning takes it that the other processes are there
    allow("capd_run")
    settings = {"devices": world, "strategy": "ddp" if world > 1 else "auto"}
    found = {}
    for name, model in {"batchnorm": CNN, "alone": {**CNN, "_target_": "capd_run.without_batchnorm"}}.items():
        seen = Gradients()
        module = fit(make_module(model, partial=False, lr=1e-3, adversary_lr=1.0), [seen], **settings)
        assert module.global_step == 12
        found[name] = {key: value.clone() for key, value in module.state_dict().items()}
    return found


def test_two_processes_with_half_the_batch_are_one(tmp_path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCAL_RANK", "0")
        one = trained(0, 1)
    first, second = found_by(trained, 2, tmp_path, "forkserver")
    for name in first:  # BatchNorm's statistics too
        assert [key for key in first[name] if not torch.equal(first[name][key], second[name][key])] == []
    start = make_module({**CNN}, lr=1e-3).state_dict()
    for key, value in one["alone"].items():
        torch.testing.assert_close(first["alone"][key], value, rtol=0, atol=2e-4, msg=lambda m, k=key: f"{k}: {m}")
    moved = [float((one["batchnorm"][key] - start[key]).abs().max()) for key in start if key.endswith("weight")]
    assert min(moved) > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": 0.0}, "^weight: stays 0"),
        ({"weight": {"kind": "sine"}}, "^weight: weight.kind must be one of"),
        ({"weights": {"rays": 1.0}}, "^weights.rays: there is no such term"),
        ({"weights": {"tokens": -1.0}}, "^weights.tokens: must be a number of at least 0"),
        ({"weights": {"adversary": 1.0}, "adversary": "none"}, "^weights: all are 0"),
        ({"label_smoothing": 1.0}, "^label_smoothing: must lie in"),
        ({"adversary_lr": 0.0}, "^adversary_lr: must be above 0"),
        ({"adversary_hidden": 0}, "^adversary_hidden: must be a whole number"),
        ({"model": VIT}, "^model: CAPD makes attention for a network that has none"),
        ({"layer": 5}, "^layer: must be nearest or one of"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ArgumentError, match=message):
        make_module(**changes)


def test_a_teacher_of_another_kind_or_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="gives no qkv: it is no plain vision transformer"):
        make_module(teacher=Teacher(build(CNN, SOURCE.info), "cnn"))
    with pytest.raises(ArgumentError, match=r"^teacher: CAPD compares logits, of None classes"):
        make_module(teacher=make_teacher(classes=None))


def test_a_run_ends_with_a_result_and_a_student_that_loads(tmp_path: Path):
    teacher = build(VIT, SOURCE.info).network.state_dict()
    save_file(teacher, tmp_path / "teacher.safetensors")
    small = ["model.width=16", "model.depth=2", "model.heads=2", "model.conv_stem=false"]
    choices = [
        "method=capd", "loss=[]", "model=small_cnn", "model.widths=[4,8,12]", "teacher=vit_small_cifar",
        "trainer=smoke", *(f"teacher.{one}" for one in small), f"teacher.weights={tmp_path}/teacher.safetensors",
        "epochs=2",
        "data.train=120", "data.val=40", "data.test=40", "callback=[checkpoint,ema,throughput,progress]",
        "logger=[csv]", "module.weight.begin=0", "module.weight.until=0.1", f"paths.run={tmp_path}/run",
    ]  # fmt: skip
    train(composed(choices))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["steps"], result["epochs"], result["spec"]["steps"]) == (4, 2, 4)
    assert result["parameters"] == sum(p.numel() for p in build(CNN, SOURCE.info).parameters())
    assert {"train/adversary", "train/adversary_loss", "train/attention", "weight/capd"} <= result["metrics"].keys()
    student = load_student(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert student(torch.rand(2, 3, 32, 32)).logits.shape == (2, 10)
