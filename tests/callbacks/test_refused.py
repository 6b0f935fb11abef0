"""A diagnostic that cannot be measured says so, and the training goes on."""

import math
import time
from datetime import timedelta

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from small_training import train

from kdbias.callbacks.knn import FrozenFeatures
from kdbias.callbacks.probe import ProbeCallback, history, kept
from kdbias.callbacks.summary import closing_table
from kdbias.finish import refusals
from kdbias.functional.hessian.product import CurvatureError
from kdbias.models.deit import vit
from kdbias.models.timm_network import timm_network
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Result
from kdbias.probes.cka import CKAProbe
from kdbias.probes.hessian import HessianProbe


def constant(info):
    """A network that answers every image alike, in all layers."""
    network = vit(info, width=16, depth=2, heads=2, patch=8)
    torch.nn.init.zeros_(network.network.patch_embed.proj.weight)
    network.network.patch_embed.requires_grad_(False)
    return network


def diverged(info):
    network = vit(info, width=16, depth=2, heads=2, patch=8)
    torch.nn.init.constant_(network.network.head.weight, math.inf)
    return network


def windowed(info):
    return timm_network(info, name="swin_tiny_patch4_window7_224", size=32)


def hybrid(info):
    return timm_network(info, name="mobilevit_xxs", size=64)


def mapless(info):
    """A vision transformer whose attention never makes the map."""
    network = vit(info, width=16, depth=2, heads=2, patch=8)
    for block in network.network.blocks:
        block.attn.forward = lambda x, *args, **kwargs: x
    return network


CASES = {
    "two images": (None, CKAProbe(), 2, "at least 4"),
    "three images": (None, CKAProbe(), 3, "at least 4"),
    "constant features": (constant, CKAProbe(), 16, "answers every image alike"),
    "windowed attention": (windowed, AttentionProbe(), 4, "windowed or pooled attention"),
    "a hybrid": (hybrid, AttentionProbe(), 4, "attention distance is not defined"),
    "no maps": (mapless, AttentionProbe(), 4, "no attention map came from 2 of 2"),
    "a Hessian of a diverged network": (diverged, HessianProbe(images=4, vectors=2, k=1), 4, "not finite"),
}


@pytest.mark.parametrize(("student", "probe", "images", "reason"), CASES.values(), ids=CASES.keys())
def test_the_training_goes_on_and_the_result_says_why(tiny_info, tmp_path, capsys, student, probe, images, reason):
    called = ProbeCallback("x", probe, every=1, images=images, figure="kdbias.report.cka.training")
    loggers = [CSVLogger(tmp_path, version="", name="csv"), TensorBoardLogger(tmp_path, version="", name="tb")]
    short = {"limit_train_batches": 1, "limit_val_batches": 1}
    module, _ = train(
        tiny_info, tmp_path, [called], epochs=2, loggers=loggers, student=student and student(tiny_info), **short
    )
    assert module.trainer.current_epoch == 2
    results = kept(tmp_path / "probes", "x")
    assert [(r.meta["epoch"], r.scalars, reason in r.refused) for r in results] == [(k, {}, True) for k in range(3)]
    assert history(tmp_path / "probes", "x") == []
    assert capsys.readouterr().out.count("probe x: refused, ") == 1
    assert "probe/x" not in (tmp_path / "csv" / "metrics.csv").read_text()
    closing = refusals([called], tmp_path)
    assert closing["probe x"].endswith("(after epoch 0, 1, 2)")
    with (console := Console(width=300)).capture() as shown:
        console.print(closing_table({"refused": closing}))
    assert reason in shown.get()


def test_figures_and_histories_leave_refused_epochs_out(tiny_info, tmp_path):
    calls = []

    def sometimes(network, batches):
        calls.append(network)
        if len(calls) == 2:
            raise CurvatureError("no eigenvalues: allow a larger tolerance")
        return CKAProbe()(network, batches)

    called = ProbeCallback("cka", sometimes, every=1, images=16, figure="kdbias.report.cka.training")
    loggers = [TensorBoardLogger(tmp_path, version="", name="tb")]
    train(tiny_info, tmp_path, [called], epochs=2, loggers=loggers)
    assert [r.meta["epoch"] for r in history(tmp_path / "probes", "cka")] == [0, 2]
    assert [bool(r.refused) for r in kept(tmp_path / "probes", "cka")] == [False, True, False]


def test_a_figure_that_cannot_be_drawn_ends_nothing(tiny_info, tmp_path, capsys):
    def other(network, batches):
        return Result("attention", {"distance": 1.0}, {}, {"n": 1})

    def ragged(results):
        raise ValueError("ragged")

    called = ProbeCallback("x", other, every=1)
    called.figure = ragged
    train(tiny_info, tmp_path, [called], loggers=[TensorBoardLogger(tmp_path, version="", name="tb")], epochs=1)
    assert capsys.readouterr().out.count("probe x: no figure, ragged") == 1
    assert len(history(tmp_path / "probes", "x")) == 2


def two():
    return {"devices": 2, "strategy": DDPStrategy(start_method="fork", timeout=timedelta(seconds=60))}


def test_two_processes_go_on_after_a_refusal(tiny_info, tmp_path):
    frozen = FrozenFeatures()
    frozen.probe = lambda data, epoch: Undefined()
    called = [ProbeCallback("cka", CKAProbe(), every=1, images=2), frozen]
    train(tiny_info, tmp_path, called, epochs=1, **two())
    assert [bool(r.refused) for r in kept(tmp_path / "probes", "cka")] == [True, True]


class Undefined:
    def judge(self, frozen):
        raise ValueError("features all alike")


class Mistaken:
    def __init__(self, error):
        self.error = error

    def judge(self, frozen):
        raise self.error


def raising(error):
    def probe(network, batches):
        raise error

    return probe


def broken(where, error):
    """A callback whose probe raises ``error``."""
    if where == "probe":
        return ProbeCallback("x", raising(error))
    frozen = FrozenFeatures()
    frozen.probe = lambda data, epoch: Mistaken(error)
    return frozen


MISHAPS = {
    "no memory on the CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    "no memory for Python": MemoryError(),
    "no file": FileNotFoundError(2, "No such file or directory"),
    "a full disk": OSError(28, "No space left on device"),
    "a key": KeyError("patches"),
    "a mistake": TypeError("a mistake"),
}


@pytest.mark.parametrize("error", MISHAPS.values(), ids=MISHAPS.keys())
@pytest.mark.parametrize("where", ["probe", "knn"])
def test_no_mishap_in_a_diagnostic_ends_a_training(tiny_info, tmp_path, capsys, where, error):
    called = broken(where, error)
    module, _ = train(tiny_info, tmp_path, [called], epochs=1)
    assert module.trainer.current_epoch == 1
    (reason,) = called.refusals(tmp_path).values()
    assert reason.startswith(type(error).__name__)
    assert reason.endswith("(after epoch 0, 1)")
    assert capsys.readouterr().out.count("refused, ") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("CUDA error: assert")])
@pytest.mark.parametrize("where", ["probe", "knn"])
def test_an_interrupt_and_a_broken_device_end_it(tiny_info, tmp_path, where, error):
    with pytest.raises((type(error), SystemExit)):  # Lightning makes one of an interrupt
        train(tiny_info, tmp_path, [broken(where, error)], epochs=1)


@pytest.mark.parametrize("where", ["probe", "knn"])
def test_two_processes_go_on_after_a_mistake(tiny_info, tmp_path, where):
    train(tiny_info, tmp_path, [broken(where, TypeError("a mistake"))], epochs=1, **two())


@pytest.mark.parametrize("where", ["probe", "knn"])
def test_what_ends_a_training_ends_both_processes_at_once(tiny_info, tmp_path, where):
    began = time.monotonic()
    with pytest.raises(Exception, match=r"device-side assert|failed in process 0"):
        train(tiny_info, tmp_path, [broken(where, RuntimeError("CUDA error: device-side assert"))], epochs=1, **two())
    assert time.monotonic() - began < 50  # the collectives of training wait for 60 seconds


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), KeyError("patches"), IndexError("no epoch")])
def test_a_figure_with_a_mistake_ends_nothing(tiny_info, tmp_path, capsys, error):
    def drawn(results):
        raise error

    called = ProbeCallback("x", lambda network, batches: Result("x", {"a": 1.0}, {}, {"n": 1}), every=1)
    called.figure = drawn
    train(tiny_info, tmp_path, [called], loggers=[TensorBoardLogger(tmp_path, version="", name="tb")], epochs=1)
    assert capsys.readouterr().out.count("probe x: no figure, ") == 1


def test_a_result_that_cannot_be_written_ends_nothing(tiny_info, tmp_path, capsys):
    (tmp_path / "probes").write_text("a file where the folder should be")
    called = ProbeCallback("x", lambda network, batches: Result("x", {"a": 1.0}, {}, {"n": 1}), every=1)
    module, _ = train(tiny_info, tmp_path, [called], epochs=1)
    assert module.trainer.current_epoch == 1
    assert "probe x: not saved, FileExistsError" in capsys.readouterr().out


def test_a_resumed_run_still_knows_what_was_refused(tiny_info, tmp_path):
    before = broken("knn", ValueError("features all alike"))
    train(tiny_info, tmp_path, [before], epochs=1)
    after = FrozenFeatures()
    after.load_state_dict(before.state_dict())
    assert after.refusals(tmp_path) == before.refusals(tmp_path) != {}


def test_frozen_features_that_only_diagnose_end_nothing(tiny_info, tmp_path, capsys):
    frozen = FrozenFeatures(every=1, linear_every=1)
    frozen.probe = lambda data, epoch: Undefined()
    loggers = [CSVLogger(tmp_path, version="", name="csv")]
    module, _ = train(tiny_info, tmp_path, [frozen], epochs=2, loggers=loggers)
    assert module.trainer.current_epoch == 2
    header = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()[0]
    assert "val/linear" in header
    assert "val/knn" not in header
    assert capsys.readouterr().out.count("val/knn: refused, features all alike") == 1
    assert refusals([frozen], tmp_path) == {"val/knn": "features all alike (after epoch 0, 1, 2)"}


def test_features_that_are_not_finite_are_refused_for_all_probes(tiny_info, tmp_path):
    student = vit(tiny_info, width=16, depth=2, heads=2, patch=8)
    torch.nn.init.constant_(student.network.norm.weight, math.inf)
    frozen = FrozenFeatures(every=1, linear_every=1)
    train(tiny_info, tmp_path, [frozen], epochs=1, student=student)
    assert frozen.latest == {}
    assert all("not finite" in text for text in frozen.refusals(tmp_path).values())
    assert frozen.refusals(tmp_path).keys() == {"val/knn", "val/linear"}


def test_what_the_best_checkpoint_is_chosen_by_has_to_be_there(tiny_info, tmp_path):
    frozen = FrozenFeatures(every=1)
    frozen.probe = lambda data, epoch: Undefined()
    callbacks = [frozen, ModelCheckpoint(tmp_path, monitor="val/knn")]
    with pytest.raises(ValueError, match="objective=val/knn: it cannot be measured: features all alike"):
        train(tiny_info, tmp_path, callbacks, epochs=1, checkpoints=True)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"name": 1}', "[" * 100_000])
def test_a_damaged_result_of_before_is_named_and_left_out(tmp_path, capsys, content):
    Result("x-epoch1", {"a": 1.0}, {}, {"n": 1}).save(tmp_path)
    (tmp_path / "x-epoch2.json").write_text(content)
    (tmp_path / "x-epoch1 (copy).json").write_text("{}")
    assert [result.name for result in kept(tmp_path, "x")] == ["x-epoch1"]
    assert f"{tmp_path / 'x-epoch2.json'} is damaged" in capsys.readouterr().out


def test_a_damaged_judgement_of_before_is_left_out_of_the_closing_table(tmp_path, capsys):
    Result("test_knn", {}, {}, {"n": 0, "refused": "too few"}).save(tmp_path / "probes")
    (tmp_path / "probes" / "test_linear.json").write_text("{")
    assert refusals([], tmp_path) == {"test_knn": "too few"}
    assert "test_linear.json is damaged" in capsys.readouterr().out
