"""No sentence says more than its intervals."""

import numpy as np
import pytest

from kdbias.probes.base import Result
from kdbias.report.verdict import Finding, cost, gain, index, inherited, within_noise
from kdbias.stats import Estimate

SHARES = (0.57, 0.21, 0.99)
CLEAR, OPEN = Estimate(0.46, 0.4, 0.5), Estimate(0.1, -0.2, 0.3)
REFUSED = Estimate.refuse("teacher - control is inside its own noise: there is nothing to transfer")
ONE_SEED = Estimate.refuse("one seed shows no noise to compare teacher - control with")


def cues(share: float, n: int = 400, seed: int = 0) -> Result:
    decided = np.random.default_rng(seed).random(n) < 0.8
    by_shape = decided & (np.arange(n) < share * n)
    return Result("cues", {"shape_share": by_shape.sum() / decided.sum()}, {"decided": decided, "by_shape": by_shape})


@pytest.mark.parametrize(
    ("seeds", "images", "shown"),
    [
        (CLEAR, (CLEAR, CLEAR), "recipe"),
        (OPEN, (CLEAR, CLEAR), "networks"),
        (ONE_SEED, (CLEAR,), "networks"),
        (CLEAR, (CLEAR, OPEN), "nothing"),
        (CLEAR, (Estimate(0.2, 0.1, 0.3), Estimate(-0.2, -0.3, -0.1)), "nothing"),
        (CLEAR, (CLEAR, REFUSED), "nothing"),
        (CLEAR, (REFUSED, REFUSED), "refused"),
    ],
)
def test_what_is_shown(seeds, images, shown):
    assert Finding(seeds, images, 0.46).shown == shown


def test_clear():
    text = inherited(Finding(CLEAR, (CLEAR, CLEAR), 0.46), SHARES)
    assert text.startswith(
        "The student took over 46 % of its teacher's preference for shape "
        "(transfer index 0.46; 95 % interval over 2 seeds [0.40, 0.50])."
    )
    assert text.endswith("in 57 % of its decisions, the control without a teacher in 21 %, the teacher in 99 %.")
    away = Estimate(-0.3, -0.4, -0.2)
    assert "moved away from" in inherited(Finding(away, (away, away), -0.3), SHARES)


def test_clear_for_these_networks_only():
    text = inherited(Finding(OPEN, (CLEAR, CLEAR), 0.46), SHARES)
    assert "95 % interval over images [0.40, 0.50], [0.40, 0.50]; over 2 seeds [-0.20, 0.30] holds 0" in text
    text = inherited(Finding(ONE_SEED, (CLEAR,), 0.46), SHARES)
    assert "one seed says nothing of other seeds" in text


def test_unclear_is_no_difference_shown():
    text = inherited(Finding(OPEN, (OPEN, OPEN), 0.1), SHARES)
    assert text.startswith("No difference shown")
    assert "took over" not in text
    text = cost(Finding(OPEN, (OPEN, OPEN), 0.1), (0.61, 0.6))
    assert text.startswith("A cost in accuracy was not shown, nor a gain (61.0 % against the control's 60.0 %;")


@pytest.mark.parametrize(("teacher", "cue"), [(0.99, "shape"), (0.05, "texture")])
def test_a_preference_is_named_by_the_side_that_the_teacher_is_on(teacher, cue):
    shares = (0.3, 0.5, teacher)
    away = Estimate(-0.3, -0.4, -0.2)
    for one in (Finding(CLEAR, (CLEAR,), 0.46), Finding(OPEN, (OPEN,), 0.1), Finding(away, (away,), -0.3)):
        assert f"preference for {cue}" in inherited(one, shares)


def test_what_is_within_noise_is_said_of_other_seeds_too():
    assert within_noise(Finding(CLEAR, (CLEAR, CLEAR), 0.46)) == ""
    assert within_noise(Finding(ONE_SEED, (CLEAR,), 0.46)) == ""
    assert within_noise(Finding(OPEN, (OPEN, OPEN), 0.1)).startswith("no difference shown (transfer index 0.10;")
    assert within_noise(Finding(OPEN, (CLEAR, CLEAR), 0.46)).startswith("no difference shown for other seeds (")
    refused = within_noise(Finding(REFUSED, (REFUSED, REFUSED), float("nan")))
    assert refused.startswith("not compared, teacher - control")


def test_refused_says_why():
    text = inherited(Finding(REFUSED, (REFUSED, REFUSED), float("nan")), SHARES)
    assert text.startswith("Whether a preference was inherited cannot be said: teacher - control is inside its own")
    assert "nan" not in text


def test_cost_and_gain():
    loss = Estimate(-0.087, -0.1, -0.07)
    assert cost(Finding(loss, (loss, loss), -0.087), (0.605, 0.692)) == (
        "It cost 8.7 points of accuracy (60.5 % against the control's 69.2 %; "
        "95 % interval over 2 seeds [-10.0, -7.0])."
    )
    assert cost(Finding(CLEAR, (CLEAR, CLEAR), 0.46), (0.8, 0.34)).startswith("It gained 46.0 points")


def test_index_of_known_shares():
    found = index([cues(0.6), cues(0.62), cues(0.58)], [cues(0.2)] * 3, cues(1.0))
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.value == pytest.approx(found.seeds.value)
    assert found.shown == "recipe"
    assert index([cues(0.2)], [cues(0.2)], cues(0.2)).shown == "refused"
    two = index([cues(0.6)] * 2, [cues(0.2)] * 2, cues(1.0))
    assert two.shown == "networks"
    assert "2 seeds say nothing of other seeds" in inherited(two, SHARES)


def test_gain_of_known_answers():
    right = np.arange(1000) < 700
    worse = Result("test", {}, {"right": right & (np.arange(1000) % 10 > 0)})
    found = gain([worse] * 3, [Result("test", {}, {"right": right})] * 3)
    assert found.value == pytest.approx(-0.07)
    assert found.shown == "recipe"
    assert found.images[0].low < -0.07 < found.images[0].high < 0
