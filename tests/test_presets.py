"""Presets: the published settings of an experiment, and a word where there are none."""

from pathlib import Path

import pytest
from config_base import composed

from kdbias.checks.check import check
from kdbias.config.spec import flat, plain, spec_hash

CONF = Path(__file__).resolve().parent.parent / "conf"
PUBLISHED = sorted(path.stem for path in (CONF / "preset" / "as_published").glob("*.yaml"))
OFFLINE = ["data=cues", "trainer=cpu"]


def offline(experiment: str) -> list[str]:
    """Choose random weights where the teacher would be downloaded."""
    teacher = composed([f"experiment={experiment}"]).teacher
    return [f"experiment={experiment}", *OFFLINE, *(["teacher.pretrained=false"] if "pretrained" in teacher else [])]


def test_there_are_presets():
    assert {"exp1_resnet_kl", "exp2_convnext_kl", "exp3_dino", "cst_dino"} <= set(PUBLISHED)


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_a_preset_changes_its_experiment_and_can_run(experiment):
    ours = composed(offline(experiment))
    theirs = composed([*offline(experiment), "preset=as_published"])
    assert (ours.preset, theirs.preset) == ("none", f"as_published/{experiment}")
    assert check(theirs) == []
    before, after = flat(plain(ours)), flat(plain(theirs))
    assert set(after) == set(before)  # settings of terms that are not selected would be new keys
    assert after["augment.view"] == "clean"
    assert after["optim.optimizer.lr"] == 5e-4
    assert spec_hash(ours) != spec_hash(theirs)


def test_the_command_line_comes_after_a_preset():
    cfg = composed([*offline("exp3_dino"), "preset=as_published", "loss.token.dim=64"])
    assert (cfg.loss.token.dim, cfg.loss.token.two_sided) == (64, True)


def test_an_experiment_without_published_settings_says_so():
    (problem,) = check(composed(["experiment=baseline", *OFFLINE, "preset=as_published"]))
    assert problem.startswith("preset: this experiment has no as_published settings")
    assert "exp3_dino" in problem
