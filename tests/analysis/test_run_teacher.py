"""The teacher of a finished run under a control that trained another one."""

import json

import pytest
from config_base import composed
from omegaconf import OmegaConf

from kdbias.analysis.run_teacher import RunTeacher, composing, teacher_of
from kdbias.checks.plan import describe_data
from kdbias.config.spec import plain
from kdbias.controls.base import applied
from kdbias.runs.teacher_recipe import recipe

RUN = ["experiment=exp1_kl", "data=cues", "data.train=200", "data.val=60"]
GRADED = ["control=accuracy_matched", "control.accuracy=.5", "control.among=graded", "teacher.epochs=4"]


def done(folder, key="another") -> None:
    """What a training leaves."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "result.json").write_text(json.dumps({"spec_hash": key}))


@pytest.mark.parametrize(
    ("control", "name"), [(["control=same_family"], "vit_small_cifar"), (GRADED, "resnet20")], ids=["family", "graded"]
)
def test_the_teacher_that_a_control_had_trained_is_found(tmp_path, control, name):
    cfg = composed([*RUN, *control, f"paths.teachers={tmp_path}"])
    OmegaConf.update(cfg, "chosen", {"data": "cues", "trainer": "cpu", "overrides": []}, force_add=True)
    info = describe_data(plain(cfg.data))
    tree = plain(cfg)
    _, used = applied(tree, info)
    taught = used["teacher"]
    assert "is not under" in str(teacher_of(tree, info, tmp_path, taught))
    done(tmp_path / "resnet56-cues-0123456789abcdef")  # that of the experiment
    with composing():
        known = recipe(used, tmp_path, "train")
    done(known.folder, known.key)
    found = teacher_of(tree, info, tmp_path, taught)
    assert isinstance(found, RunTeacher)
    assert (found.name, found.path, found.note) == (name, known.folder / "checkpoints" / "best.ckpt", "")
    assert found.spec["_target_"] == taught["model"]["_target_"]


def test_a_teacher_that_stopped_early_is_not_taken_for_the_only_one(tmp_path):
    cfg = composed([*RUN, f"paths.teachers={tmp_path}"])
    OmegaConf.update(cfg, "chosen", {"data": "cues", "trainer": "cpu", "overrides": []}, force_add=True)
    tree = plain(cfg)
    info, name = describe_data(tree["data"]), tree["teacher"]["name"]
    failed = tmp_path / f"{name}-cues-0123456789abcdef"
    done(failed)
    assert isinstance(teacher_of(tree, info, tmp_path, tree["teacher"]), RunTeacher)
    (failed / "result.json").write_text(json.dumps({"spec_hash": None, "stopped": "it collapsed"}))
    assert "not trained yet" in str(teacher_of(tree, info, tmp_path, tree["teacher"]))
