"""Every control runs two steps with every experiment where it makes sense, and is refused with a reason elsewhere.

Experiments whose small runs are of one kind share a run.
"""

import json
from pathlib import Path

import pytest
from small_run import CNN, CONTROLS, DISTILLING, EXPERIMENTS, VIT, is_vit, kind, small_run, with_weights

from kdbias.checks.check import check
from kdbias.config.build import target
from kdbias.config.spec import plain
from kdbias.controls.none import NO_TEACHER
from kdbias.train import train

LOGIT_TERMS = {"alpha", "kl", "hard_kl", "dkd", "dist", "ofa"}
DONE: dict[str, tuple[list[str], dict]] = {}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Stand-ins for the large teachers that same_family names."""
    named = {"vit_small_cifar": VIT, "resnet56": CNN}
    monkeypatch.setattr(
        "kdbias.controls.same_family.named_teacher",
        lambda name: {**NO_TEACHER, "name": name, "model": named[name], "recipe": "teacher_resnet56"},
    )


def refused(cfg, control) -> str:
    """Why the control makes no sense for a run, as far as its yaml tells; empty where it does."""
    if not target(plain(cfg.module)).sums_terms and control in ("none", "self", "label_smoothing", "shuffled"):
        return "trains by a loss of its own"
    if control in ("none", "self") and not set(cfg.loss) & (LOGIT_TERMS | {"ce"}):
        return "no term of this run trains the classifier"
    if control == "same_family" and is_vit(cfg.model) == is_vit(cfg.teacher.model):
        return "has the student's family"
    if control == "label_smoothing" and not set(cfg.loss) <= LOGIT_TERMS | {"ce"}:
        return "label_smoothing gives logits, and"
    if control == "accuracy_matched" and cfg.teacher.model.classes is None:
        return "has no classifier, hence no accuracy"
    return ""


def outcome(cfg, folder) -> tuple[list[str], dict]:
    """The problems of a run, and its result where it has none; of runs of one kind the first one's."""
    key = kind(cfg)
    if key not in DONE:
        cfg = with_weights(cfg, folder)
        problems = check(cfg)
        if not problems:
            train(cfg)
        path = Path(cfg.paths.run, "result.json")
        DONE[key] = problems, json.loads(path.read_text()) if path.is_file() else {}
    return DONE[key]


def test_there_are_controls():
    wanted = {"none", "self", "same_family", "random", "label_smoothing", "shuffled", "accuracy_matched"}
    assert wanted == set(CONTROLS)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("experiment", DISTILLING)
def test_control_runs_two_steps_or_is_refused_with_a_reason(experiment, control, tmp_path):
    cfg = small_run(experiment, control)
    reason, (problems, result) = refused(cfg, control), outcome(cfg, tmp_path)
    if reason:
        assert problems
        assert all(problem.startswith("control: ") and reason in problem for problem in problems)
        return
    assert problems == []
    assert result["steps"] == 2
    assert (result["teacher"] is None) == (control == "none")
    report = result["control"]
    assert report["kind"] == control
    assert report["matched"]


@pytest.mark.parametrize("control", CONTROLS)
def test_control_of_a_run_without_teacher_is_refused(control):
    problems = check(small_run(next(name for name in EXPERIMENTS if name not in DISTILLING), control))
    reason = f"control: {control} changes the teacher, and this run has none: choose an experiment that distils"
    assert problems == [reason]
