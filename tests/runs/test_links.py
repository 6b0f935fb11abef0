"""A run folder that somebody sent may hold links: nothing is written through them."""

import os
import subprocess
import sys
from pathlib import Path

import preloaded
import pytest
from omegaconf import OmegaConf

from kdbias.config.errors import ConfigError
from kdbias.runs import parallel, resuming
from kdbias.runs.listing import runs_below
from kdbias.runs.parallel import Run
from kdbias.runs.resuming import resumed
from kdbias.runs.run_folder import CONFIG, LAST, alone, require_own
from kdbias.runs.sweep import SweepSummary

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sent(tmp_path):
    """A run folder beside a file that is none of its business."""
    folder = tmp_path / "run"
    (folder / LAST).parent.mkdir(parents=True)
    (folder / LAST).write_bytes(b"state")
    (folder / CONFIG).write_text("seed: 3\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.yaml").write_text("mine")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("argument", ["resume", "hydra.run.dir"])
@pytest.mark.parametrize("link", [".hydra", ".hydra/config.yaml", "train.log"])
def test_hydra_writes_nothing_before_links_are_looked_at(sent, tmp_path, argument, link):
    (sent / link).parent.mkdir(exist_ok=True)
    (sent / link).symlink_to(tmp_path / "outside" / ("" if link == ".hydra" else "config.yaml"))
    before = everything(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KDBIAS_ALLOCATOR": "0"}
    command = [sys.executable, str(ROOT / "train.py"), f"{argument}={sent}", "batch_size=3"]
    done = preloaded.run(command, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert f"{sent / link} is a link to " in done.stderr
    assert "Traceback" not in done.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize("inside", [True, False])
def test_a_lock_that_is_a_link_empties_nothing(sent, tmp_path, inside):
    target = sent / LAST if inside else tmp_path / "outside" / "config.yaml"
    (sent / ".lock").symlink_to(target)
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="remove it"), alone(sent):
        pass
    assert everything(tmp_path) == before


def test_links_inside_of_the_folder_are_its_own(sent):
    (sent / "checkpoints" / "best.ckpt").symlink_to("last.ckpt")
    require_own(sent)
    require_own(sent / "not there")


def test_a_study_looks_before_it_opens_a_log(sent, tmp_path, monkeypatch):
    (sent / "job.log").symlink_to(tmp_path / "outside" / "config.yaml")
    monkeypatch.setattr(parallel, "training_program", lambda: [sys.executable, "-c", "print(1)"])
    monkeypatch.setattr(resuming, "resumable", lambda folder, key: False)
    with pytest.raises(ConfigError, match=r"job\.log is a link to"):
        parallel.train([Run("x", (), sent, "key", 1)], lanes=1, board=None)
    assert (tmp_path / "outside" / "config.yaml").read_text() == "mine"


def test_a_sweep_looks_at_the_folders_of_its_jobs(sent, tmp_path):
    (sent / ".hydra").symlink_to(tmp_path / "outside")
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    with pytest.raises(SystemExit, match=r"\.hydra is a link"):
        SweepSummary().on_multirun_start(config)


@pytest.mark.parametrize(
    "text", ["callback: abc", "callback: [abc]", "callback: 3", "callback: {best: abc}", "paths: abc", "paths: [a]"]
)
def test_a_value_in_the_place_of_a_group_is_left_to_the_check(sent, text):
    (sent / CONFIG).write_text(f"seed: 3\n{text}\n")
    found = resumed(OmegaConf.create({"resume": str(sent)}), [f"resume={sent}"])
    assert found.seed == 3


def test_a_folder_that_is_nested_beyond_all_runs_is_refused(sent):
    home = os.getcwd()
    os.chdir(sent)
    try:
        for _ in range(1_100):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(home)
        with pytest.raises(ConfigError, match="lie too deep"):
            require_own(sent)
        (sent / CONFIG).unlink()  # then it is looked through
        assert [run.folder for run in runs_below(sent.parent)] == ["outside"]
    finally:
        os.chdir(home)
        subprocess.run(["rm", "-rf", sent / "d"], check=True)
