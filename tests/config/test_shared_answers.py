"""Which runs wait for each other's kept answers, by their configs."""

from typing import Any

import pytest

from kdbias.config.kept import shared_answers

TEACHER = {"name": "resnet20", "weights": None, "cache": 4, "cache_dtype": "auto", "cache_layers": "read"}
NONE = {"_target_": "kdbias.controls.none.NoTeacher"}
SMOOTH = {"_target_": "kdbias.controls.label_smoothing.LabelSmoothing"}
FAMILY = {"_target_": "kdbias.controls.same_family.SameFamily", "vit": "a", "cnn": "b", "weights": None}
COPY = {"_target_": "kdbias.controls.self.Self", "weights": None}
RANDOM = {"_target_": "kdbias.controls.random.Random", "seed": None}


def digits(seed: int, draws: int | None, control: dict[str, Any] | None = None, cache: int | None = 4) -> str:
    """Those of a run whose draws have the seed ``draws``; None for its own."""
    teacher = {**TEACHER, "cache": cache, "cache_seed": draws}
    return shared_answers({"seed": seed, "teacher": teacher, "control": control})


@pytest.mark.parametrize("control", [None, FAMILY, {**COPY, "weights": "w"}, {**RANDOM, "seed": 3}])
def test_seeds_of_one_teacher_share_answers_to_the_draws_of_one_seed(control):
    """A teacher of the student's family is trained by its recipe, whose seed is not the run's."""
    assert digits(0, 0, control) == digits(1, 0, control) == digits(0, None, control) != ""
    assert digits(1, 1, control) == digits(1, None, control) != digits(0, None, control)


@pytest.mark.parametrize("control", [COPY, RANDOM])
def test_a_teacher_that_each_seed_makes_has_answers_of_its_own(control):
    assert digits(0, 0, control) != digits(1, 0, control) != ""


def test_a_run_that_keeps_no_answers_waits_for_none():
    assert digits(0, 0, NONE) == digits(0, 0, SMOOTH) == digits(0, 0, cache=None) == ""
