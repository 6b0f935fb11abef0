"""A run that has ended, or nearly, and is resumed."""

import json
import math
import os

import pytest
from config_base import composed
from omegaconf import OmegaConf

from kdbias.runs import run_folder
from kdbias.train import train

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
    changing = ("seconds",)
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
