"""What a run gives a term of its own making: the readings it asks for, and a state that lasts."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import lightning as L
import pytest
import torch
from bank_term import Bank
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from planting import plant
from processes import found_by
from test_distill import CNN, STUDENT, StopAfter, make_data, make_spec, same_weights
from torch.nn import functional as F

import kdbias.losses
from kdbias.callbacks.averaging import EMA
from kdbias.config.build import build, builder
from kdbias.losses.base import LossTerm
from kdbias.models.checkpoint import load_student
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill

VIT = {**STUDENT, "distilled": False}
NETWORKS = {"vit": VIT, "cnn": {**CNN, "widths": [4, 8, 16]}}
BANK = {"_target_": "kdbias.losses.Bank", "temperature": 1.0}


class TeachersDense(LossTerm):
    """The student answers as the teacher does on average over its places."""

    needs = frozenset({"dense"})

    def forward(self, student, teacher, batch, progress):
        return F.mse_loss(student.class_logits, teacher.dense_logits.mean(dim=(2, 3)))


class TeachersQkv(LossTerm):
    """Penultimate features have the norm of the teacher's values."""

    needs = frozenset({"qkv"})

    def forward(self, student, teacher, batch, progress):
        values = teacher.qkv[-1][2].transpose(1, 2).flatten(2)  # (B, N, D)
        return (student.pooled.norm(dim=1) - values.mean(dim=1).norm(dim=1)).square().mean()


class OwnDense(LossTerm):
    """The student's places together give the image's label, which may be mixed."""

    student_needs = frozenset({"dense"})

    def forward(self, student, teacher, batch, progress):
        return F.cross_entropy(student.dense_logits.mean(dim=(2, 3)), batch.target)


class OwnQkv(LossTerm):
    """Queries and keys of the student's last block are short."""

    student_needs = frozenset({"qkv"})

    def forward(self, student, teacher, batch, progress):
        return student.qkv[-1][:2].square().mean()


TERMS = (TeachersDense, TeachersQkv, OwnDense, OwnQkv)


@pytest.fixture(autouse=True)
def in_the_package(monkeypatch):
    """Configs name builders of the package alone."""
    plant(monkeypatch, "loss", "kdbias.losses", *TERMS, Bank)


def make_module(loss: dict, model: dict = VIT, teacher: dict | None = CNN, ce: float = 0.5) -> Distill:
    data = make_data()
    spec = {**make_spec(data, drop_path=0.0), "model": model}
    spec["loss"] = {"ce": {"_target_": "kdbias.losses.ce.CE", "weight": ce}, **loss}
    torch.manual_seed(5)
    taught = None if teacher is None else Teacher(build(teacher, data.info), "taught")
    torch.manual_seed(0)
    return Distill(spec, taught)


def fit(module: Distill, folder: Path, epochs: int = 1, resume: Path | None = None, **settings) -> Distill:
    trainer = L.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(module, datamodule=make_data(), ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize(
    ("term", "model", "teacher"),
    [
        (TeachersDense, "vit", "cnn"),
        (TeachersDense, "cnn", "vit"),
        (TeachersQkv, "vit", "vit"),
        (TeachersQkv, "cnn", "vit"),
        (OwnDense, "vit", None),
        (OwnDense, "cnn", "vit"),
        (OwnQkv, "vit", "cnn"),
    ],
)
def test_what_a_term_asks_for_is_read_and_trained_on(term, model, teacher, tmp_path):
    plain = make_module({}, NETWORKS[model], teacher and NETWORKS[teacher])
    loss = {"own": {"_target_": f"kdbias.losses.{term.__name__}"}}
    module = make_module(loss, NETWORKS[model], teacher and NETWORKS[teacher], ce=0.0)
    assert list(module.student.state_dict()) == list(plain.student.state_dict())
    before = {name: p.detach().clone() for name, p in module.student.named_parameters()}
    fit(module, tmp_path, limit_train_batches=1)
    moved = {name for name, p in module.student.named_parameters() if (p - before[name]).abs().max() > 1e-5}
    stem, last = ("conv1", "layer3") if model == "cnn" else ("patch_embed", "blocks.1.attn.qkv.weight")
    assert any(stem in name for name in moved)
    assert any(last in name for name in moved)


def test_nothing_more_is_read_than_was_asked_for():
    module = make_module({"kl": {"_target_": "kdbias.losses.kl.KL"}}, teacher=VIT)
    image = torch.rand(2, 3, 32, 32)
    for network in (module.student, module.teacher):
        assert network(image).dense_logits is None
        assert network(image).qkv == ()


def test_one_reading_does_not_bring_the_other():
    module = make_module({"own": {"_target_": "kdbias.losses.TeachersQkv"}}, teacher=VIT)
    image = torch.rand(2, 3, 32, 32)
    assert module.teacher(image).dense_logits is None
    assert len(module.teacher(image).qkv) == 2
    assert module.student(image).qkv == ()


@pytest.mark.parametrize(("term", "model", "teacher"), [(TeachersQkv, "vit", "cnn"), (OwnQkv, "cnn", "vit")])
def test_what_a_network_does_not_have_is_refused(term, model, teacher):
    with pytest.raises(ValueError, match="CifarResNet gives no qkv: it is no plain vision transformer"):
        make_module({"own": {"_target_": f"kdbias.losses.{term.__name__}"}}, NETWORKS[model], NETWORKS[teacher])


def memory(module: Distill) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.total.named_buffers()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_run_remembers_bit_for_bit(tmp_path):
    path = tmp_path / "stop.ckpt"
    whole = fit(make_module({"bank": BANK}), tmp_path, 3, callbacks=[EMA(begin=0.3)])
    fit(make_module({"bank": BANK}), tmp_path, 3, callbacks=[EMA(begin=0.3), StopAfter(2, path)])
    resumed = fit(make_module({"bank": BANK}), tmp_path, 3, path, callbacks=[EMA(begin=0.3)])
    assert {"total.terms.bank.bank", "total.terms.bank.z"} <= whole.state_dict().keys()
    assert same_weights(whole, resumed)
    saved = torch.load(path, weights_only=True)
    for name, value in memory(whole).items():  # the average has the student alone
        key = f"total.{name}"
        assert torch.equal(saved["state_dict"][key], saved["current_model_state"][key])
        assert name.endswith("z") or not torch.equal(saved["state_dict"][key], value)  # and the third epoch moved it
    student = load_student(path)
    assert all(torch.equal(saved["state_dict"][f"student.{key}"], value) for key, value in student.state_dict().items())


def test_averaging_and_validation_leave_the_state_alone(tmp_path):
    plain = fit(make_module({"bank": BANK}), tmp_path, 2, limit_val_batches=0)
    averaged = fit(make_module({"bank": BANK}), tmp_path, 2, callbacks=[EMA(begin=0.2)])
    assert equal(memory(plain), memory(averaged))
    assert not same_weights(plain, averaged)


class Watch(L.Callback):
    """Keep the state as it is when callbacks may save it, after every batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(memory(pl_module))


def test_a_checkpoint_of_a_step_has_the_state_after_it(tmp_path):
    watch, module = Watch(), make_module({"bank": BANK})
    start = memory(module)
    fit(module, tmp_path, callbacks=[watch])
    states = [start, *watch.seen]
    assert len(states) == 5
    assert not any(equal(one, two) for one, two in pairwise(states))
    assert equal(states[-1], memory(module))


def test_accumulated_batches_are_one_step(tmp_path):
    watch, module = Watch(), make_module({"bank": BANK})
    start = memory(module)
    fit(module, tmp_path, callbacks=[watch], accumulate_grad_batches=2)
    first, second, third, fourth = watch.seen
    assert equal(start, first)
    assert not equal(first, second)
    assert equal(second, third)
    changed = (second["terms.bank.bank"] != start["terms.bank.bank"]).any(dim=1)
    assert int(changed.sum()) == 32  # every image of both batches
    assert not equal(third, fourth)


def test_a_resting_term_keeps_its_state(tmp_path):
    late = {**BANK, "weight": {"kind": "step", "values": [0, 1], "at": [0.5]}}
    watch, module = Watch(), make_module({"bank": late})
    start = memory(module)
    fit(module, tmp_path, callbacks=[watch])
    assert [equal(start, one) for one in watch.seen] == [True, True, False, False]


class Joined(LightningEnvironment):
    """Processes that are there already, as a cluster starts them."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank


def remembered(folder: Path, rank: int, world: int) -> dict[str, torch.Tensor]:
    builder("loss")(Bank)  # in a process of its own
    Bank.__module__, kdbias.losses.Bank = "kdbias.losses", Bank
    alone = {} if world == 1 else {"devices": world, "strategy": DDPStrategy(cluster_environment=Joined(rank))}
    module = make_module({"bank": BANK})
    return {name: value.detach() for name, value in fit(module, folder, 2, **alone).state_dict().items()}


def test_two_processes_remember_what_one_does(tmp_path):
    first, second = found_by(partial(remembered, tmp_path), 2, tmp_path, "forkserver")
    assert equal(first, second)
    alone = fit(make_module({"bank": BANK}), tmp_path, 2).state_dict()
    assert first.keys() == alone.keys()
    for name in ("total.terms.bank.bank", "total.terms.bank.z", "student.network.head.weight"):
        torch.testing.assert_close(first[name], alone[name], rtol=0, atol=1e-6)


def test_a_run_with_cskd_is_judged_and_loaded_with_the_mean_of_three_answers(tmp_path):
    """Validation, the test and ``load_student`` take CLS, DIST and the DIST head of every patch token, in a loop."""
    cskd = {"_target_": "kdbias.losses.cskd.CSKD", "alpha": 0.5}
    module = fit(make_module({"cskd": cskd}, {**STUDENT, "inference": "dense"}), tmp_path)
    logged = {name: module.trainer.callback_metrics[name].item() for name in ("val/loss", "val/accuracy")}
    path = tmp_path / "x.ckpt"
    module.trainer.save_checkpoint(path)
    student = load_student(path)
    network = student.network
    losses, hits, count = [], 0, 0
    for batch in make_data().val_dataloader():
        final = network.forward_features(student.prepare(batch.image))
        places = [network.head_dist(token) for token in final[:, 2:].unbind(1)]
        heads = network.head(final[:, 0]) + network.head_dist(final[:, 1])
        logits = (heads + sum(places) / len(places)) / 3
        torch.testing.assert_close(student(batch.image).logits, logits)
        losses.append(F.cross_entropy(logits, batch.target, reduction="sum"))
        hits, count = hits + int((logits.argmax(1) == batch.target).sum()), count + len(logits)
    assert logged["val/loss"] == pytest.approx(sum(losses).item() / count, rel=1e-4)
    assert logged["val/accuracy"] == pytest.approx(hits / count)
    (tested,) = module.trainer.test(module, make_data(), verbose=False)
    answers = [F.cross_entropy(module(b.image), b.target, reduction="sum") for b in make_data().test_dataloader()]
    assert tested["test/loss"] == pytest.approx(sum(answers).item() / 32, rel=1e-4)
