"""Teachers on demand of tests/toy_run/app.py: its ``level`` of data and its ``epochs`` decide a run's objective."""

import json
import signal
from pathlib import Path

from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from toy_run.start import PATIENCE, alive, hold, run, start, wait_for

from kdbias.checks.check import check
from kdbias.config.conf import conf_dir
from kdbias.runs.teacher_recipe import recipe_overrides


def teachers(folder: Path) -> dict[str, dict]:
    """Result by folder name, less the hash."""
    found = folder.glob("runs/teachers/*/result.json")
    return {path.parent.name.rsplit("-", 1)[0]: json.loads(path.read_text()) for path in found}


def test_a_missing_teacher_is_trained_once_on_the_data_of_the_run(tmp_path):
    status, output = run(tmp_path, "experiment=on_level", "data.root='a b,c'", "seed=1")
    assert status == 0, output
    assert "teacher strong on large not found under runs/teachers: training it first (4 epochs)" in output
    assert teachers(tmp_path)["strong-large"]["data"] == {"level": 6.0, "root": "a b,c"}
    assert teachers(tmp_path)["strong-large"]["objective"] == 9 * (1 + 1 / 2 + 1 / 4 + 1 / 8)

    first = output.split("teacher at ")[1]
    for again in (["experiment=on_level", "seed=2", "data.root=elsewhere"], ["resume=runs/single"]):
        status, output = run(tmp_path, *again)
        assert status == 0, output
        assert "training it first" not in output
        assert output.split("teacher at ")[1] == first


def test_its_epochs_and_its_variant_of_the_data_make_it_another_teacher(tmp_path):
    run(tmp_path, "teacher=strong", "teacher.epochs=1", "trainer.limit=7")
    run(tmp_path, "teacher=shape", "teacher.epochs=1")
    found = teachers(tmp_path)
    assert {name: result["objective"] for name, result in found.items()} == {"strong-small": 3.0, "shape-small": 12.0}
    saved = next(tmp_path.glob("runs/teachers/strong-*/config.yaml")).read_text()
    assert "limit: 7" in saved


def test_runs_that_want_it_at_once_train_it_once(tmp_path):
    runs = [start(tmp_path, "teacher=strong", f"seed={seed}", f"hydra.run.dir=runs/{seed}") for seed in range(2)]
    output = [process.communicate(timeout=PATIENCE)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], output
    assert "".join(output).count("training it first") == 1
    assert next(tmp_path.glob("runs/teachers/*/starts.txt")).read_text() == "0\n"


def test_a_killed_sweep_ends_its_teacher_which_goes_on_later(tmp_path):
    held = hold(tmp_path)
    process = start(tmp_path, "-m", "teacher=slow", "seed=0,1")
    folder = wait_for(lambda: list(tmp_path.glob("runs/teachers/slow-*/checkpoints/last.ckpt")))[0].parent.parent
    pid = int((folder / "pid.txt").read_text())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not alive(pid))

    held.unlink()
    status, output = run(tmp_path, "teacher=slow")
    assert status == 0, output
    assert (folder / "starts.txt").read_text().split() == ["0", "1"]
    assert teachers(tmp_path)["slow-small"]["objective"] == 4 - 2**-6


def test_a_failed_teacher_is_one_error_with_its_log(tmp_path):
    status, output = run(tmp_path, "teacher=bad")
    assert status == 1
    log = next(tmp_path.glob("runs/teachers/bad-small-*/job.log"))
    assert f"RuntimeError: training the teacher in {log.parent} failed: its log is {log}" in output
    assert "this run was asked to fail" in log.read_text()


def test_the_augmentation_of_the_command_line_is_the_teachers_too():
    chosen = ["experiment=exp1_resnet_kl", "data=mnist", "augment=mnist", "augment.rotate=5", "seed=1"]
    cfg = composed(chosen)
    with open_dict(cfg):
        cfg.chosen = {"data": "mnist", "trainer": "auto", "overrides": chosen}
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        overrides = recipe_overrides(cfg, "train")
        teacher = compose("train", overrides)
    assert (teacher.name, teacher.augment.flip, teacher.augment.rotate) == ("teacher_resnet18", False, 5)
    assert "seed=1" not in overrides
    assert check(teacher) == []
