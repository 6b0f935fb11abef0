"""Teachers on demand of tests/toy_run/app.py: its ``level`` of data and its ``epochs`` decide a run's objective."""

import json
import signal
from pathlib import Path

import pytest
from config_base import assert_named_once, composed, config
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from toy_run.start import PATIENCE, alive, hold, run, start, wait_for

from kdbias.checks.check import check
from kdbias.config.conf import conf_dir
from kdbias.config.overrides import key_of
from kdbias.config.spec import plain, spec_hash
from kdbias.runs.teacher_recipe import Recipe, recipe, recipe_overrides


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
    assert f"RunStopped: training the teacher in {log.parent} failed" in output
    assert f": its log is {log}" in output
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


def planned(folder: Path, *words: str) -> Recipe:
    """The recipe of a student's teacher, as its run would find it."""
    chosen = ["experiment=exp1_resnet_kl", "data=cues", *words]
    cfg = composed(chosen)
    with open_dict(cfg):
        cfg.chosen = {"data": "cues", "trainer": "auto", "overrides": chosen}
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return recipe(plain(cfg), folder, "train")


def batch_of(found: Recipe) -> int:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        teacher = compose("train", found.overrides)
    assert check(teacher) == []
    return teacher.batch_size


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ((), 512),
        (("data.train=400", "data.val=100", "batch_size=50"), 300),
        (("data.train=402", "data.val=100", "batch_size=50", "trainer.devices=4", "trainer.accelerator=cpu"), 300),
        (("teacher.batch_size=64",), 64),
        (("data.train=200", "data.val=100", "batch_size=50", "teacher=resnet20", "teacher.batch_size=32"), 32),
        (("data.train=200", "data.val=100", "batch_size=50", "teacher=resnet20"), 100),
    ],
)
def test_a_recipe_has_full_batches_of_a_small_data_set(tmp_path, words, size):
    """Before, the student's check passed, and the teacher's own process refused its batch of 512 or 128."""
    assert batch_of(planned(tmp_path, *words)) == size


def test_where_the_batch_is_full_the_teacher_is_the_one_of_before(tmp_path):
    before = planned(tmp_path)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        assert before.key == spec_hash(compose("train", before.overrides))
    assert not any(key_of(word) == "batch_size" for word in before.overrides)
    assert planned(tmp_path, "teacher.batch_size=64").key != before.key


def test_a_batch_that_is_not_set_changes_no_hash():
    cfg = composed(["experiment=exp1_resnet_kl"])
    before = spec_hash(cfg)
    with open_dict(cfg):
        assert cfg.teacher.pop("batch_size", "absent") is None
    assert spec_hash(cfg) == before
    with open_dict(cfg):
        cfg.teacher.batch_size = 64
    assert spec_hash(cfg) != before


@pytest.mark.parametrize(("value", "named"), [(501, "at most the 500"), (0, "at least 1"), ("x", "at least 1")])
def test_a_batch_of_the_teacher_that_cannot_be_is_a_problem_of_the_student(value, named):
    changes = {"teacher.batch_size": value}
    assert_named_once(changes, "teacher.batch_size", (named,))
    assert check(config({"teacher.batch_size": 500})) == []
    (problem,) = check(config({"teacher.batch_size": 49, "trainer.devices": 2}))
    assert problem.startswith("teacher.batch_size: 49 images")


def test_a_student_that_makes_its_own_views_leaves_its_teacher_the_recipe_s_augmentation():
    def recipe(*changes: str):
        chosen = ["method=sskd", "loss=[]", "augment=none", "teacher=small_cnn", "data=cues", *changes]
        cfg = composed(chosen)
        with open_dict(cfg):
            cfg.chosen = {"data": "cues", "trainer": "auto", "overrides": chosen}
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            return compose("train", recipe_overrides(cfg, "train"))

    light, unmirrored = recipe().augment, recipe("module.views.flip=false").augment
    assert (light.crop, light.flip) == (4, True)
    assert (unmirrored.crop, unmirrored.flip) == (4, False)
