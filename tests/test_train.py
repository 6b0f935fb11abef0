"""A run that has ended, or nearly, and is resumed."""

import json
import math
import os
import shutil
from importlib import import_module

import pytest
import torch
from config_base import composed
from omegaconf import OmegaConf

from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.spec import plain
from kdbias.runs import resuming, run_folder
from kdbias.train import ROOTS, begin, train

SMALL = [
    "experiment=baseline", "trainer=smoke", "data.train=200", "data.val=40", "data.test=40", "model=vit",
    "model.width=16", "model.depth=1", "model.heads=2", "model.patch=8", "callback=[checkpoint,throughput]",
    "logger=[csv]", "epochs=2",
]  # fmt: skip


@pytest.fixture(params=["val/accuracy", None])
def cfg(tmp_path, request):
    objective = "null" if request.param is None else request.param
    return composed([*SMALL, f"objective={objective}", f"paths.run={tmp_path}"])


def test_a_run_that_is_done_is_left_as_it_is(cfg, tmp_path, capsys):
    objective = train(cfg)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    cfg.resume = str(tmp_path)
    again = train(cfg)
    assert again == objective or (math.isnan(again) and math.isnan(objective))
    assert capsys.readouterr().out == f"done already: {tmp_path}/result.json\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written


@pytest.mark.parametrize("key", ROOTS)
def test_a_setting_that_was_taken_away_is_named(key, tmp_path):
    cfg = composed([*SMALL, f"paths.run={tmp_path}"])
    cfg = OmegaConf.create({name: node for name, node in plain(cfg).items() if name != key})
    with pytest.raises(ConfigError, match=f"^{key}: is missing: set {key}=VALUE"):
        train(cfg)


def test_a_result_of_another_config_does_not_make_it_done(cfg, tmp_path):
    train(cfg)
    found = json.loads((tmp_path / run_folder.RESULT).read_text())
    (tmp_path / run_folder.RESULT).write_text(json.dumps(found | {"spec_hash": "other"}))
    cfg.resume = str(tmp_path)
    train(cfg)
    assert json.loads((tmp_path / run_folder.RESULT).read_text())["spec_hash"] == found["spec_hash"]


def test_a_run_that_was_killed_before_its_result_has_the_same_one(cfg, tmp_path):
    """Nothing is left to train, and so nothing is logged any more."""
    train(cfg)
    first = json.loads((tmp_path / run_folder.RESULT).read_text())
    assert "val/accuracy" in first["metrics"]
    (tmp_path / run_folder.RESULT).unlink()
    cfg.resume = str(tmp_path)
    train(cfg)
    second = json.loads((tmp_path / run_folder.RESULT).read_text())
    changing = ("seconds", "peak_memory")
    assert {k: v for k, v in second.items() if k not in changing} == {
        k: v for k, v in first.items() if k not in changing
    }


def test_the_config_is_saved_resolved_and_progress_is_left(cfg, tmp_path):
    train(cfg)
    assert OmegaConf.load(tmp_path / run_folder.CONFIG) == OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 2


def test_half_files_of_a_killed_run_are_gone_when_it_goes_on(cfg, tmp_path):
    train(cfg)
    (tmp_path / run_folder.RESULT).unlink()
    left = tmp_path / "probes" / ".cka.npz.0123456789ab.part"
    left.touch()
    os.utime(left, (0, 0))
    cfg.resume = str(tmp_path)
    train(cfg)
    assert not left.exists()
    assert (tmp_path / run_folder.RESULT).is_file()


DIVERGING = {
    "the loss": (["optim.optimizer.lr=1e30", "optim.clip=null"], "the loss is "),
    "the last step": (["optim.optimizer.lr=1e39", "optim.schedule.warmup=0", "epochs=1"], "the last step left weights"),
}


@pytest.mark.parametrize(("changes", "reason"), DIVERGING.values(), ids=DIVERGING.keys())
@pytest.mark.parametrize("objective", ["val/accuracy", "null"])
def test_a_run_that_diverges_says_so_in_its_result_and_is_not_done(tmp_path, changes, reason, objective):
    limit = ["trainer.limit_train_batches=1"] if "epochs=1" in changes else []
    cfg = composed([*SMALL, *changes, *limit, f"objective={objective}", f"paths.run={tmp_path}"])
    with pytest.raises(RunStopped, match=reason):
        train(cfg)
    found = json.loads((tmp_path / run_folder.RESULT).read_text())
    assert found["stopped"].startswith(reason)
    assert found["spec_hash"] is None
    assert found["test"] == {}
    cfg.resume = str(tmp_path)
    with pytest.raises(RunStopped, match="training had failed"):
        train(cfg)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that was killed after its last epoch, to be copied."""
    folder = tmp_path_factory.mktemp("stopped")
    train(composed([*SMALL, f"paths.run={folder}"]))
    (folder / run_folder.RESULT).unlink()
    return folder


def edit(folder, key, value):
    saved = OmegaConf.load(folder / run_folder.CONFIG)
    OmegaConf.update(saved, key, value)
    OmegaConf.save(saved, folder / run_folder.CONFIG)


def going_on(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def resume(folder):
    cfg = resuming.resumed(composed([f"resume={folder}"]), [f"resume={folder}"])
    return train(cfg)


EDITS = [("seed", 1, "seed: 0 -> 1"), ("optim.optimizer.lr", 0.5, r"optim.optimizer.lr: \S+ -> 0.5")]
EDITS += [("model.depth", 2, "model.depth: 1 -> 2"), ("loss.ce.weight", 0.5, "loss.ce.weight")]
EDITS += [("epochs", 3, "does not hold"), ("batch_size", 10, "does not hold"), ("augment.flip", False, "does not hold")]


@pytest.mark.parametrize(("key", "value", "named"), EDITS)
def test_an_edited_config_is_noticed_when_a_run_goes_on(stopped, tmp_path, key, value, named):
    folder = going_on(stopped, tmp_path)
    edit(folder, key, value)
    before = (folder / "metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match=named):
        resume(folder)
    assert (folder / "metrics.csv").read_bytes() == before


def test_an_edited_description_in_the_checkpoint_is_noticed(stopped, tmp_path):
    folder = going_on(stopped, tmp_path)
    content = torch.load(folder / run_folder.LAST, weights_only=True)
    content["hyper_parameters"]["spec"]["seed"] = 7
    torch.save(content, folder / run_folder.LAST)
    with pytest.raises(ConfigError, match="seed: 7 -> 0"):
        resume(folder)


def test_weights_alone_are_nothing_to_resume_from(stopped, tmp_path):
    folder = going_on(stopped, tmp_path)
    shutil.copy(folder / run_folder.BEST, folder / run_folder.LAST)
    before = (folder / "metrics.csv").read_bytes()
    with pytest.raises(
        ConfigError, match=r"last\.ckpt holds weights to evaluate.*: begin a run .* by init=\S+last.ckpt$"
    ):
        resume(folder)
    assert (folder / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(("key", "value"), [("eval_batch_size", 20), ("trainer.log_every", 1), ("name", "other")])
def test_what_decides_nothing_may_change(stopped, tmp_path, key, value):
    folder = going_on(stopped, tmp_path)
    edit(folder, key, value)
    resume(folder)
    assert (folder / run_folder.RESULT).is_file()


def test_a_checkpoint_of_before_without_a_hash_goes_on(stopped, tmp_path):
    folder = going_on(stopped, tmp_path)
    content = torch.load(folder / run_folder.LAST, weights_only=True)
    for key in ("hash", "control"):
        del content["hyper_parameters"]["spec"][key]
    torch.save(content, folder / run_folder.LAST)
    resume(folder)
    assert (folder / run_folder.RESULT).is_file()


class Finds:
    """A control that finds a teacher as it is asked for one, as accuracy_matched does."""

    kind = "accuracy_matched"

    def teacher(self, tree, data, source):
        tree["teacher"] = {"name": "found", "model": None}

    def report(self):
        return {}


def test_the_checkpoint_describes_the_teacher_that_a_control_found_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("kdbias.train"), "applied", lambda tree, info: (Finds(), dict(tree)))
    folder = tmp_path / "run"
    train(composed([*SMALL, f"paths.run={folder}"]))
    content = torch.load(folder / run_folder.LAST, weights_only=True)
    assert content["hyper_parameters"]["spec"]["teacher"]["name"] == "found"
    (folder / run_folder.RESULT).unlink()
    resume(folder)
    assert (folder / run_folder.RESULT).is_file()


def test_a_job_that_slurm_requeued_goes_on_from_the_checkpoint_of_its_end(stopped, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    os.replace(run / run_folder.LAST, run / "hpc_ckpt_1.ckpt")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert resuming.requeued(run) is None
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert resuming.requeued(run) == run / "hpc_ckpt_1.ckpt"
    spec = torch.load(run / "hpc_ckpt_1.ckpt", weights_only=True)["hyper_parameters"]["spec"]
    logged = (run / "metrics.csv").read_text()
    assert begin(run, False, spec) == run / "hpc_ckpt_1.ckpt"
    assert (run / "metrics.csv").read_text() == logged
    with pytest.raises(ConfigError, match="seed: 0 -> 7"):
        begin(run, False, {**spec, "seed": 7})
    shutil.copy(run / "hpc_ckpt_1.ckpt", run / run_folder.LAST)  # of an epoch since then
    assert resuming.requeued(run) == run / run_folder.LAST
    (run / "hpc_ckpt_1.ckpt").unlink()
    assert resuming.requeued(run) is None  # a first start in a folder that has a run
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # preempted, or its node failed
    assert resuming.requeued(run) == run / run_folder.LAST
    monkeypatch.delenv("SLURM_JOB_ID")
    assert begin(run, False, spec) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert begin(run, False, spec) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # torchrun --max-restarts
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")  # each of several nodes counts its own
    assert begin(run, False, spec) is None
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert begin(run, False, spec) == run / run_folder.LAST
