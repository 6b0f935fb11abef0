"""A training step that makes its own optimiser steps: what a run counts, logs, averages and resumes is as always."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training import quiet_trainer

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.checkpoint import last
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.modules.distill import Distill
from kdbias.modules.loggers import csv
from kdbias.modules.manual import ManualSteps, detached
from kdbias.modules.supervised import Supervised
from kdbias.report.curves import read_metrics

SOURCE = cues(train=96, val=32, test=32)
COSINE = {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.3, "final_lr": 1e-6}
PLATEAU = {
    "_target_": "kdbias.modules.schedules.plateau", "monitor": "val/accuracy", "mode": "min", "patience": 0,
}  # fmt: skip


class Watched(ManualSteps, Supervised):
    """Cross-entropy, and an adversary that learns from the detached logits and has no say in it."""

    def __init__(self, spec: dict, alone: bool = False, rests: int = 0) -> None:
        super().__init__(spec)
        self.adversary = None if alone else nn.Linear(self.info.classes, 1)
        self.rests = rests

    def training_step(self, batch, batch_idx):
        logits = self.student(batch.image).logits.float()
        loss = F.cross_entropy(logits, batch.target, label_smoothing=0.1)
        self.record(loss, {"ce": loss.detach()})
        self.train_accuracy.update(logits.detach(), batch.target)
        if self.logs_step(batch_idx):
            self.log_step(loss, {"ce": loss.detach()}, len(batch.image))
        opposing = 0.0 if self.adversary is None else self.judged(logits.detach())
        self.descend(loss + opposing, oppose=self.global_step >= self.rests)
        return loss.detach()

    def judged(self, logits):
        return self.adversary(logits).square().mean()


KINDS = {"watched": Watched, "alone": Watched}


class Kill(L.Callback):
    """End training after batch ``batch`` of epoch ``epoch``, as a crash would."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.at:
            raise KeyboardInterrupt


class Norms(L.Callback):
    """Keep the norms of the gradients that each optimiser has seen."""

    def __init__(self) -> None:
        self.found: list[list[float]] = []

    def on_train_batch_end(self, trainer, *_):
        held = [[p.grad.norm() for group in one.param_groups for p in group["params"]] for one in trainer.optimizers]
        self.found.append([float(torch.stack(norms).norm()) for norms in held])


def fit(kind: str, folder: Path, schedule=COSINE, resume=None, callbacks=(), precision="32-true", **settings):
    L.seed_everything(0, verbose=False)
    data = ImageData(
        SOURCE, Augment(mixup=0, cutmix=0, erasing=0), batch_size=16, eval_batch_size=32, seed=0
    )  # fmt: skip
    optimizer = {"_target_": "kdbias.modules.optim.adamw", "lr": 1e-2, "weight_decay": 0.05}
    spec = {
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
        "loss": {"ce": {"_target_": "kdbias.losses.ce.CE"}},
        "optim": {"optimizer": optimizer, "schedule": schedule, "clip": 0.1},
        "data": data.info.to_dict(),
        "seed": 0,
        "channels_last": False,
    }
    module = Distill(spec) if kind == "automatic" else KINDS[kind](spec, alone=kind == "alone", **settings)
    trainer = quiet_trainer(
        max_epochs=3,
        logger=csv(str(folder)),
        log_every_n_steps=4,
        callbacks=[EMA(begin=0.3), *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        precision=precision,
        enable_checkpointing=True,
        default_root_dir=folder,
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        assert callbacks
    return module


def student(module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if name.startswith("student.")}


def assert_same(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize(
    ("kind", "schedule", "precision"),
    [("watched", COSINE, "32-true"), ("alone", COSINE, "bf16-mixed"), ("watched", PLATEAU, "bf16-mixed")],
)
def test_it_trains_counts_and_logs_as_an_automatic_step_does(kind, schedule, precision, tmp_path):
    keep = [last(folder=str(tmp_path / name)) for name in ("one", "two")]
    expected = fit("automatic", tmp_path / "automatic", schedule, precision=precision, callbacks=keep[:1])
    found = fit(kind, tmp_path / kind, schedule, precision=precision, callbacks=keep[1:])
    assert_same(student(expected), student(found))
    assert expected.trainer.global_step == found.trainer.global_step == 12
    assert (expected.progress, expected.spec["steps"]) == (found.progress, found.spec["steps"])
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("automatic", kind)]
    for name in ("step", "lr", "train/loss_step", "train/loss", "loss/ce", "val/accuracy", "train/accuracy"):
        assert str(rows[0][name]) == str(rows[1][name]), name
    rates = {rate for rate in rows[1]["lr"] if rate == rate}
    assert len(rates) > 1  # the schedule moves
    saved = [torch.load(one.best_model_path, weights_only=True) for one in keep]
    assert saved[0]["global_step"] == saved[1]["global_step"] == 12
    ends = [one["optimizer_states"][0]["param_groups"][0]["lr"] for one in saved]
    assert ends[0] == ends[1]


def test_the_adversary_trains_by_the_same_schedule_and_rests_on_request(tmp_path):
    trained, rested = fit("watched", tmp_path / "a"), fit("watched", tmp_path / "b", rests=100)
    assert_same(student(trained), student(rested))
    torch.manual_seed(0)
    assert trained.adversary is not None
    assert rested.adversary is not None
    assert not torch.equal(trained.adversary.weight, rested.adversary.weight)
    mine, theirs = trained.trainer.optimizers
    assert [group["lr"] for group in mine.param_groups] == [group["lr"] for group in theirs.param_groups]
    assert not rested.trainer.optimizers[1].state
    assert {int(state["step"]) for state in theirs.state.values()} == {12}


def test_a_run_killed_within_an_epoch_goes_on_as_if_nothing_had_been(tmp_path):
    whole = fit("watched", tmp_path / "whole")
    fit("watched", tmp_path / "killed", callbacks=[last(folder=str(tmp_path)), Kill(2, 1)])
    resumed = fit("watched", tmp_path / "resumed", resume=tmp_path / "last.ckpt")
    assert resumed.trainer.global_step == 12
    assert_same(whole.state_dict(), resumed.state_dict())
    for one, two in zip(whole.trainer.optimizers, resumed.trainer.optimizers, strict=True):
        states = [list(each.state_dict()["state"].values()) for each in (one, two)]
        for before, after in zip(*states, strict=True):
            assert_same(before, after)


def test_every_parameter_is_in_one_optimiser_and_clipped_with_its_own(tmp_path):
    norms = Norms()
    module = fit("watched", tmp_path, callbacks=[norms])
    held = [{id(p) for group in one.param_groups for p in group["params"]} for one in module.trainer.optimizers]
    assert held[1] == {id(p) for p in module.adversary.parameters()}
    assert held[0] == {id(p) for p in module.student.parameters()}
    for each in zip(*norms.found, strict=True):
        assert max(each) == pytest.approx(0.1, rel=1e-3)  # optim.clip


class InFP32(Watched):
    """An adversary whose loss is computed out of autocast; it keeps the gradient of its first step."""

    gradient: torch.Tensor | None = None

    def judged(self, logits):
        with torch.autocast("cpu", enabled=False):
            return (self.adversary.weight.T @ self.adversary.weight).square().mean() + 0.0 * self.adversary.bias.sum()

    def on_after_backward(self):
        if self.gradient is None:
            self.expected = self.adversary.weight.detach().double().clone()
            self.gradient = self.adversary.weight.grad.clone()


def test_fp32_maths_goes_back_in_fp32_under_autocast(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "fp32", InFP32)
    module = fit("fp32", tmp_path, precision="bf16-mixed", rests=100)
    weight = module.expected.requires_grad_()
    (weight.T @ weight).square().mean().backward()
    torch.testing.assert_close(module.gradient.double(), weight.grad, rtol=1e-4, atol=1e-7)


def test_a_detached_network_passes_a_gradient_on_and_takes_none():
    network, inputs = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
    torch.testing.assert_close(detached(network, inputs), network(inputs))
    detached(network, inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, network.weight.detach().expand(2, 3))
    assert network.weight.grad is None
    assert network.weight.requires_grad
