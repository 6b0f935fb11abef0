import csv
import time
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import OmegaConf
from small_training import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.probe import ProbeCallback, history
from kdbias.config.build import build
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.cka import CKAProbe

CONF = Path(__file__).parents[2] / "conf" / "callback"


def callback(probe=None, **settings):
    probe = probe or AttentionProbe()
    return ProbeCallback("attention", probe, figure="kdbias.report.attention.training", **settings)


def test_training_is_the_same_bit_for_bit_with_and_without(tiny_info, tmp_path):
    def drawing(network, batches):
        torch.rand(3)
        return AttentionProbe()(network, batches)

    loggers = [TensorBoardLogger(tmp_path, version="", name="tb")]
    plain, _ = train(tiny_info, tmp_path / "plain", [EMA(begin=0.0)])
    probed, _ = train(tiny_info, tmp_path / "probed", [EMA(begin=0.0), callback(drawing, every=1)], loggers=loggers)
    assert len(history(tmp_path / "probed" / "probes", "attention")) == 4
    for name, value in plain.state_dict().items():
        assert torch.equal(value, probed.state_dict()[name]), name


@pytest.mark.parametrize("averaged_first", [True, False])
def test_the_averaged_weights_are_probed_in_any_order_of_callbacks(tiny_info, tmp_path, averaged_first):
    callbacks = [EMA(begin=0.5, decay=0.9), callback(every=1, images=20)]
    module, data = train(tiny_info, tmp_path, callbacks if averaged_first else callbacks[::-1])
    results = history(tmp_path / "probes", "attention")
    assert [r.meta["weights"] for r in results] == ["initial", "current", "averaged", "averaged"]
    after = AttentionProbe()(
        module.student, data.batches("val", limit=20)
    )  # training leaves the average in the student
    np.testing.assert_array_equal(results[-1].arrays["distance"], after.arrays["distance"])
    assert results[-1].meta["n"] == 20


def test_epochs_files_scalars_and_figures(tiny_info, tmp_path):
    loggers = [CSVLogger(tmp_path, version="", name="csv"), TensorBoardLogger(tmp_path, version="", name="tb")]
    train(tiny_info, tmp_path, [callback(every=2)], epochs=3, loggers=loggers)
    written = sorted(path.name for path in (tmp_path / "probes").iterdir())
    assert written == [f"attention-epoch{k}.{kind}" for k in (0, 2, 3) for kind in ("json", "npz")]
    results = history(tmp_path / "probes", "attention")
    assert [(r.meta["epoch"], r.meta["step"]) for r in results] == [(0, 0), (2, 8), (3, 12)]
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["probe/attention/distance"]]
    assert [int(row["step"]) for row in rows] == [0, 8, 12]
    assert float(rows[-1]["probe/attention/distance"]) == pytest.approx(results[-1].scalars["distance"])
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [image.step for image in events.Images("probe/attention")] == [0, 8, 12]


def test_no_probe_before_training_unless_asked_nor_at_the_sanity_check(tiny_info, tmp_path):
    train(tiny_info, tmp_path, [callback(every=5, initial=False)], epochs=1)
    assert [r.meta["epoch"] for r in history(tmp_path / "probes", "attention")] == [1]


def test_only_the_first_process_probes(tmp_path):
    other = SimpleNamespace(is_global_zero=False, global_step=0, default_root_dir=tmp_path)
    callback().on_train_start(other, None)
    assert not list(tmp_path.iterdir())


def test_two_processes_wait_for_a_long_probe_and_find_what_one_finds(tiny_info, tmp_path):
    """The probe takes longer than the collectives of training may, which end the run of who waits in one."""

    def slow(network, batches, slept=[]):  # noqa: B006
        if not slept:
            slept.append(time.sleep(8))
        return AttentionProbe()(network, batches)

    strategy = DDPStrategy(start_method="fork", timeout=timedelta(seconds=6))
    train(tiny_info, tmp_path / "two", [callback(slow, every=2)], epochs=1, devices=2, strategy=strategy)
    train(tiny_info, tmp_path / "one", [callback()], epochs=1)
    (first, last), (alone, _) = (history(tmp_path / name / "probes", "attention") for name in ("two", "one"))
    assert (first.meta["n"], last.meta["n"], last.meta["epoch"]) == (32, 32, 1)
    np.testing.assert_array_equal(first.arrays["distance"], alone.arrays["distance"])


def test_two_and_four_processes_write_what_one_writes(tiny_info, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # Lightning would choose another number for each number of processes
    monkeypatch.setattr("kdbias.callbacks.probe.PATIENCE", timedelta(minutes=10))
    probes = {"attention": AttentionProbe(), "cka": CKAProbe()}
    found = []
    for processes in (1, 2, 4):
        callbacks = [ProbeCallback(name, probe, every=1, images=30) for name, probe in probes.items()]
        strategy = "auto" if processes == 1 else DDPStrategy(start_method="fork", timeout=timedelta(minutes=10))
        folder = tmp_path / str(processes)
        train(tiny_info, folder, callbacks, epochs=1, devices=processes, strategy=strategy)
        found.append({name: history(folder / "probes", name) for name in probes})
    alone, *others = found
    for several in others:
        for name in probes:
            (one, after_one), (first, last) = alone[name], several[name]
            assert (first.scalars, first.meta) == (one.scalars, one.meta)
            assert first.arrays.keys() == one.arrays.keys()
            for key, array in one.arrays.items():
                np.testing.assert_array_equal(first.arrays[key], array, strict=True)
            assert last.meta == after_one.meta
            assert last.scalars != first.scalars


def test_fewer_validation_images_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(count={"val": 3}.get))
    with pytest.raises(ValueError, match=r"probe_attention: 3 validation images for 4 processes: raise data\.val"):
        ProbeCallback("attention", AttentionProbe()).on_fit_start(trainer, None)


def test_a_probe_is_given_the_teacher_and_the_data_of_the_run(tiny_info, tmp_path):
    spec = OmegaConf.to_container(OmegaConf.load(CONF / "probe_cka_teacher.yaml"), resolve=False)["probe_cka_teacher"]
    spec |= {"images": 16, "every": 1}
    teacher = Teacher(small_cnn(tiny_info, widths=(4, 8, 16)), "small")
    loggers = [CSVLogger(tmp_path, version="", name="csv"), TensorBoardLogger(tmp_path, version="", name="tb")]
    train(tiny_info, tmp_path, [build(deepcopy(spec))], epochs=1, loggers=loggers, teacher=teacher)
    results = history(tmp_path / "probes", "cka_teacher")
    assert [(r.meta["other"], r.meta["n"], r.meta["epoch"]) for r in results] == [("small", 16, 0), ("small", 16, 1)]
    assert "probe/cka_teacher/alignment" in (tmp_path / "csv" / "metrics.csv").read_text()
    with pytest.raises(ValueError, match=r"callback\.probe_cka_teacher compares with a teacher, and the run has none"):
        train(tiny_info, tmp_path, [build(deepcopy(spec))], epochs=1)
    knn = {"_target_": "kdbias.probes.knn.KNNProbe", "bank": 16, "k": 3}
    train(tiny_info, tmp_path, [ProbeCallback("knn", knn, images=16)], epochs=1)
    assert history(tmp_path / "probes", "knn")[-1].meta["bank"] == 16


def test_a_device_without_float64_has_its_student_measured_on_the_cpu(tiny_info, tmp_path, monkeypatch):
    """As Apple's GPUs; the copy gives what the student gives, and the training goes on with the student."""
    measured, trained = {}, {}
    for has in (True, False):
        monkeypatch.setattr("kdbias.callbacks.probe.has_float64", lambda device, has=has: has)

        def noted(network, batches, has=has):
            measured.setdefault(has, []).append(network)
            return AttentionProbe()(network, batches)

        trained[has], _ = train(tiny_info, tmp_path / str(has), [callback(noted, every=1)], epochs=1)
        assert [one is trained[has].student for one in measured[has]] == [has, has]
    found = [history(tmp_path / str(has) / "probes", "attention") for has in (True, False)]
    assert [one.scalars for one in found[0]] == [one.scalars for one in found[1]]
    for name, value in trained[True].state_dict().items():
        assert torch.equal(value, trained[False].state_dict()[name]), name


def test_a_student_that_cannot_be_copied_ends_no_training(tiny_info, tmp_path, monkeypatch):
    def refuse(network, device):
        raise RuntimeError("no room for a copy")

    monkeypatch.setattr("kdbias.callbacks.probe._measurable", refuse)
    probed = callback(every=1)
    train(tiny_info, tmp_path, [probed], epochs=1)
    assert "no room for a copy" in probed.refusals(tmp_path)["probe attention"]


@pytest.mark.parametrize("name", ["probe_attention", "probe_cka"])
def test_the_configs_build_and_run(name, tiny_info, tmp_path):
    config = OmegaConf.merge({"probe_images": 16}, OmegaConf.load(CONF / f"{name}.yaml"))
    spec = OmegaConf.to_container(config, resolve=True)
    loggers = [TensorBoardLogger(tmp_path, version="", name="tb")]
    train(tiny_info, tmp_path, [build(spec[name])], epochs=1, loggers=loggers)
    assert len(history(tmp_path / "probes", spec[name]["name"])) == 2


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"^every: must be a whole number of at least 1, got 0"):
        callback(every=0)
