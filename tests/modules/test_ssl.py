"""Training without labels: it learns, it resumes, two processes equal one, and a collapse ends it."""

import json
import math
from pathlib import Path

import lightning as L
import pytest
import torch
from config_base import composed
from processes import found_by
from torch import nn
from training import StopAfter, quiet_trainer

from kdbias.config.build import build
from kdbias.config.errors import RunStopped
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.checkpoint import load_student, load_teacher
from kdbias.models.teacher import teacher_from_weights
from kdbias.modules.ssl_dino import DINO, move, sharpening
from kdbias.modules.ssl_heads import Prototypes
from kdbias.modules.ssl_watch import CollapseWatch
from kdbias.train import train

VIT = {
    "_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "patch": 8, "classes": None,
}  # fmt: skip
SHARED = {
    "views": {"_target_": "kdbias.data.ssl_views.TwoViews", "size": 16},
    "collapse": {"_target_": "kdbias.modules.ssl_watch.CollapseWatch"},
}
METHODS = {
    "simclr": {"_target_": "kdbias.modules.ssl_simclr.SimCLR", "hidden": 16, "dim": 8, **SHARED},
    "dino": {
        "_target_": "kdbias.modules.ssl_dino.DINO", "hidden": 16, "bottleneck": 8, "prototypes": 12, "momentum": 0.9,
        "freeze_last": 0.3, **SHARED,
    },
}  # fmt: skip
SMALL = [
    "trainer=smoke", "data.train=200", "data.val=40", "data.test=40", "logger=[csv]", "model=vit", "model.width=16",
    "model.depth=1", "model.heads=2", "model.patch=8", "model.classes=null", "module.views.size=16",
]  # fmt: skip


SOURCE = cues(train=96, val=32, test=32)


def make_data() -> ImageData:
    augment = Augment(crop=0, flip=False, erasing=0, mixup=0, cutmix=0)
    return ImageData(SOURCE, augment, batch_size=16, eval_batch_size=32, seed=0)


def make_spec(data: ImageData, module: dict, model: dict = VIT) -> dict:
    return {
        "model": model,
        "module": module,
        "optim": {
            "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 2e-3, "weight_decay": 0.04},
            "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.1},
            "clip": 1.0,
        },
        "data": data.info.to_dict(),
        "seed": 0,
        "channels_last": True,
    }


def fit(
    name: str,
    folder: Path,
    epochs: int = 3,
    stop: int | None = None,
    resume: Path | None = None,
    callbacks=(),
    **changes,
):
    L.seed_everything(0, verbose=False)
    data = make_data()
    spec = make_spec(data, {**METHODS[name], **changes})
    module = build(spec["module"], spec)
    trainer = quiet_trainer(
        max_epochs=epochs,
        callbacks=[*callbacks, *([StopAfter(stop, folder / "stop.ckpt")] if stop else [])],
        log_every_n_steps=2,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize("name", METHODS)
def test_resume_equals_an_uninterrupted_run_bit_for_bit(name, tmp_path):
    whole = fit(name, tmp_path).state_dict()
    fit(name, tmp_path, stop=2)
    resumed = fit(name, tmp_path, resume=tmp_path / "stop.ckpt").state_dict()
    assert whole.keys() == resumed.keys()
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []


def test_simclr_lowers_its_loss_and_logs_the_signs(tmp_path):
    easy = {**SHARED["views"], "invert": 0.0, "hue": 0.0, "grey": 0.0}
    before = fit("simclr", tmp_path, epochs=1, views=easy).trainer.callback_metrics["train/loss"]
    module = fit("simclr", tmp_path, epochs=8, views=easy)
    metrics = module.trainer.callback_metrics
    assert metrics["train/loss"] < min(before, math.log(31)) - 0.1  # the logarithm is that of picking at random
    assert 1 < metrics["collapse/rank"] <= 16
    assert 0 < metrics["collapse/std"] < 1.1
    assert 0 <= metrics["train/pairs"] <= 1
    assert module.stopped is None


def test_dino_saves_the_average_which_follows_with_statistics_of_its_own(tmp_path):
    torch.manual_seed(0)
    cnn = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [8, 16], "classes": None}
    data = make_data()
    spec = make_spec(data, METHODS["dino"], cnn)
    module = build(spec["module"], spec)
    first = {name: value.clone() for name, value in module.student.state_dict().items()}
    trainer = quiet_trainer(
        max_epochs=2,
        log_every_n_steps=2,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    average, online = module.student.state_dict(), module.online.state_dict()
    weight, mean = "network.conv1.weight", "network.bn1.running_mean"
    assert 0 < (average[weight] - first[weight]).norm() < (online[weight] - first[weight]).norm()
    assert not torch.equal(average[mean], first[mean])
    assert not torch.equal(average[mean], online[mean])
    assert not any(p.requires_grad for p in module.student.parameters())
    assert module.center.abs().max() > 0
    assert 0 < trainer.callback_metrics["collapse/teacher_entropy"] <= 1
    assert 0 < trainer.callback_metrics["collapse/marginal_entropy"] <= 1


def test_the_last_layer_of_dino_waits(tmp_path):
    data = make_data()
    spec = make_spec(data, {**METHODS["dino"], "freeze_last": 0.4})
    torch.manual_seed(0)
    module = build(spec["module"], spec)
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append((pl_module.progress, pl_module.online_head.directions.detach().clone()))

    trainer = quiet_trainer(
        max_epochs=1,
        callbacks=[Look()],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    still = [torch.equal(value, seen[0][1]) for _, value in seen]
    assert still == [True, True, False, False]  # steps begin at 0, 1/4, 1/2, 3/4; decay does not act either


def test_temperature_and_momentum_are_those_of_the_official_schedules(tmp_path):
    """main_dino.py: linspace over the warm-up's epochs, then the end; ``cosine_scheduler`` over all steps, from 0."""
    epochs, warmup, batches = 5, 3, 4
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append((pl_module.teacher_temperature, pl_module.momentum))

    fit("dino", tmp_path, epochs=epochs, callbacks=[Look()], momentum=0.996, teacher_temperature_until=warmup / epochs)
    steps = epochs * batches
    assert [m for _, m in seen] == pytest.approx(
        [1 + 0.5 * (0.996 - 1) * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    )
    # the official staircase meets the straight line once an epoch, a part e / (W - 1) into epoch e
    official = [0.04 + (0.07 - 0.04) * epoch / (warmup - 1) for epoch in range(warmup)]
    line = sharpening(0.04, 0.07, warmup / epochs)
    assert [line((e + e / (warmup - 1)) / epochs) for e in range(warmup)] == pytest.approx(official)
    assert [t for t, _ in seen] == pytest.approx([line(step / steps) for step in range(steps)])
    assert {t for t, _ in seen[warmup * batches :]} == {0.07}
    assert sharpening(0.04, 0.07, 0.0)(0.0) == 0.07


@pytest.mark.parametrize(("read", "learns"), [("pooled", False), ("tokens", True)])
def test_which_of_the_last_block_s_tokens_the_objective_trains(read, learns):
    """What a student distils of a ViT are patch tokens: through CLS alone their own values have no part in the loss."""
    data = make_data()
    spec = make_spec(data, {**METHODS["simclr"], "features": read})
    torch.manual_seed(0)
    module = build(spec["module"], spec)
    found = {}
    module.student.network.blocks[-1].register_forward_hook(lambda _, __, out: found.update(tokens=out))
    loss = module.compare(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)).loss
    (gradient,) = torch.autograd.grad(loss, found["tokens"])
    assert bool(gradient[:, 1:].abs().max() > 0) is learns
    assert gradient.abs().max() > 0


def test_the_average_moves_by_its_share():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.75 * one.weight.detach() + 0.25 * two.weight.detach()
    move(one, two, 0.25)
    torch.testing.assert_close(one.weight.detach(), expected)


def test_scores_of_prototypes_are_cosines():
    torch.manual_seed(0)
    scores = Prototypes(6, 16, 8, 20).eval()(100 * torch.randn(50, 6))
    assert scores.shape == (50, 20)
    assert scores.abs().max() <= 1


def gradients(name: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Gradients of one step in fp64 on this rank's part of a batch, BatchNorm on fixed statistics."""
    data = make_data()
    torch.manual_seed(0)
    spec = make_spec(data, METHODS[name])
    module = build(spec["module"], spec).double()
    for part in module.modules():
        part.training = not isinstance(part, nn.BatchNorm1d)
    step = Step(module)
    wrapped = nn.parallel.DistributedDataParallel(step) if world > 1 else step
    image = torch.rand(8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = slice(rank * 8 // world, (rank + 1) * 8 // world)
    wrapped(image[rows], image.flip(3)[rows] ** 2).backward()
    found = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    return found | ({"center": module.center} if isinstance(module, DINO) else {})


class Step(nn.Module):
    def __init__(self, module) -> None:
        super().__init__()
        self.module = module

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return self.module.compare(one, two).loss


def all_gradients(rank: int, world: int) -> dict[str, dict[str, torch.Tensor]]:
    return {name: gradients(name, rank, world) for name in METHODS}


def test_two_processes_with_half_the_batch_give_the_gradients_of_one(tmp_path):
    found = found_by(all_gradients, 2, tmp_path, "forkserver", ["kdbias.modules.ssl_dino", "config_base"])
    for name in METHODS:
        one = gradients(name, 0, 1)
        assert max(float(g.abs().max()) for g in one.values()) > 1e-3
        for rank in range(2):
            two = found[rank][name]
            assert two.keys() == one.keys()
            for key, gradient in one.items():
                torch.testing.assert_close(two[key], gradient, rtol=0, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


def test_a_collapsed_run_says_so_stops_and_is_not_done(tmp_path, capsys):
    """Targets at a temperature of 10 are uniform whatever the network."""
    settings = ["epochs=20", "batch_size=40", "data.train=80", "trainer.limit_train_batches=null"]
    settings += ["module.teacher_temperature=10", "callback.knn.linear=0", f"paths.run={tmp_path}"]
    cfg = composed(["experiment=teacher_ssl_vit", "ssl=dino", *SMALL, *settings])
    with pytest.raises(RunStopped, match=r"the teacher's entropy is above 0\.99 ln K"):
        train(cfg)
    assert "stopped: collapsed: the teacher's entropy" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert "from 10% to 20% of training" in result["stopped"]
    assert result["spec_hash"] is None
    assert result["steps"] < 15
    assert result["test"]["knn"] >= 0

    written = (tmp_path / "result.json").read_bytes()
    cfg.resume = str(tmp_path)
    with pytest.raises(RunStopped, match=r"had failed \(collapsed: the teacher's entropy .* start anew"):
        train(cfg)
    assert (tmp_path / "result.json").read_bytes() == written
    (tmp_path / "result.json").unlink()  # as of a run that was killed between its last checkpoint and its result
    with pytest.raises(RunStopped, match=r"the teacher's entropy is above"):
        train(cfg)
    again = json.loads((tmp_path / "result.json").read_text())
    assert (again["stopped"], again["spec_hash"]) == (result["stopped"], None)
    assert again["steps"] == result["steps"]


def test_a_whole_run_leaves_a_teacher_without_logits(tmp_path):
    cfg = composed(["experiment=teacher_ssl_vit", *SMALL, "epochs=2", f"paths.run={tmp_path}"])
    train(cfg)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stopped"] is None
    assert [result[key] for key in ("objective", "objective_name", "best_epoch")] == [None] * 3
    assert "val/knn" in result["metrics"]  # logged, and chosen by nobody
    last, taught = (
        torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best")
    )
    assert taught["global_step"] == last["global_step"] == result["steps"]
    assert all(torch.equal(taught["state_dict"][key], value) for key, value in last["state_dict"].items())
    assert set(result["test"]) == {"knn", "linear", "linear_train"}
    assert 0 <= result["metrics"]["val/knn_initial"] <= 1
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert load_student(path)(torch.rand(2, 3, 32, 32)).logits is None
    assert load_teacher(path).info.classes is None
    info = make_data().info
    teacher = teacher_from_weights({"_target_": "kdbias.models.deit.vit", "layers": [0]}, info, path, "ssl_vit")
    assert len(teacher(torch.rand(2, 3, 32, 32)).tokens) == 1


def test_signs_that_stay_end_a_run():
    watch = CollapseWatch(begin=0.1, patience=0.1, rank=2.0)
    assert watch.see(0.05, {"rank": 1.0}) is None
    assert [watch.see(p, {"rank": 1.0}) for p in (0.10, 0.14, 0.19)] == [None] * 3
    assert watch.see(0.2, {"rank": 5.0, "std": 0.5}) is None  # it has recovered
    assert [watch.see(p, {"rank": 1.0}) for p in (0.3, 0.45)] == [None] * 2  # two sightings are few
    assert "effective rank is below 2 (1), from 30% to 46%" in str(watch.see(0.46, {"rank": 1.0}))


@pytest.mark.parametrize(
    ("sign", "value", "text"),
    [("std", 0.0, "deviation"), ("teacher_entropy", 0.999, "uniform"), ("marginal_entropy", 0.001, "one prototype")],
)
def test_every_sign_counts(sign, value, text):
    watch = CollapseWatch(patience=0.0)
    assert text in [watch.see(p, {sign: value}) for p in (0.2, 0.3, 0.4)][-1]


def test_what_was_seen_is_resumed():
    first, second = CollapseWatch(), CollapseWatch()
    for place in (0.2, 0.25):
        first.see(place, {"std": 0.0})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert "from 20% to 31%" in str(second.see(0.31, {"std": 0.0}))


@pytest.mark.parametrize(
    ("model", "module", "message"),
    [
        ({"classes": "data"}, {}, "model.classes: SimCLR trains no classifier"),
        ({}, {"temperature": 0.0}, "^temperature: must be above 0"),
        ({}, {"features": "cls"}, "^features: must be pooled or tokens"),
    ],
)
def test_bad_input_is_named(model, module, message):
    data = make_data()
    spec = make_spec(data, {**METHODS["simclr"], **module}, {**VIT, **model})
    with pytest.raises(ValueError, match=message):
        build(spec["module"], spec)
