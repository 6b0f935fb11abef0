"""Retention under stress: values, intervals that cover near zero accuracy too, and what is refused."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats import Estimate, difference, quotient_by_image, ratio, retention, retention_noise


def answers(share: float, n: int, seed: int = 0) -> np.ndarray:
    """Give exactly ``round(share * n)`` right answers, in random order."""
    right = np.arange(n) < round(share * n)
    return np.random.default_rng(seed).permutation(right)


def covered(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


def test_the_interval_of_retention_covers() -> None:
    generator = np.random.default_rng(1)
    truth = (0.4 - 0.1) / (0.8 - 0.1)
    estimates = []
    for _ in range(500):
        clean = generator.random(400) < 0.8
        stress = np.where(clean, generator.random(400) < 0.45, generator.random(400) < 0.2)  # .36 + .04
        estimates.append(retention(stress, clean, 10))
    assert 0.92 < covered(estimates, truth) < 0.98


def test_retention_and_ratio_values() -> None:
    stress, clean = answers(0.4, 1000, 1), answers(0.8, 1000, 2)
    assert retention(stress, clean, 10).value == pytest.approx(3 / 7)
    assert ratio(stress, clean, 10).value == pytest.approx(0.5)


def test_retention_of_the_clean_images_is_one_but_for_images_that_were_not_seen() -> None:
    clean = answers(0.3, 500)
    estimate = retention(clean, clean, 10)
    assert estimate.value == 1
    assert 0.97 < estimate.low < 1 < estimate.high < 1.03  # three of 500 images may differ unseen: 3/500 over .2


def test_pairing_by_image_narrows_the_interval() -> None:
    clean = answers(0.7, 2000)
    nested = clean & (np.random.default_rng(5).random(2000) < 0.9)
    shuffled = np.random.default_rng(6).permutation(nested)
    wide, narrow = retention(shuffled, clean, 10), retention(nested, clean, 10)
    assert narrow.high - narrow.low < 0.8 * (wide.high - wide.low)


@pytest.mark.parametrize("score", [retention, ratio])
def test_a_student_at_chance_retains_nothing_that_can_be_measured(score) -> None:
    refused = score(answers(0.1, 1000, 1), answers(0.1, 1000, 2), 10)
    assert math.isnan(refused.value)
    assert math.isnan(refused.low)
    assert "clean accuracy 10.0% of 1000 images is not above chance" in refused.reason


def test_the_gate_of_retention_is_one_percent() -> None:
    n, classes = 1000, 10
    gate = int(scipy_stats.binom.isf(0.01, n, 0.1)) + 1  # the least count with p < .01
    stress = answers(0.1, n)
    assert not retention(stress, np.arange(n) < gate, classes).refused
    assert retention(stress, np.arange(n) < gate - 1, classes).refused


def test_a_clean_accuracy_just_above_chance_has_a_finite_wide_interval() -> None:
    gate = int(scipy_stats.binom.isf(0.01, 1000, 0.1)) + 1
    estimate = retention(answers(0.1, 1000, 1), np.arange(1000) < gate, 10)
    assert np.isfinite([estimate.low, estimate.high]).all()
    assert estimate.high - estimate.low > 2


@pytest.mark.parametrize(
    ("stress", "clean", "classes", "message"),
    [
        ([1, 0], [1, 0, 1], 10, "one length"),
        ([], [], 10, "n >= 1"),
        ([0.5, 1], [1, 1], 10, "whether the answer was right"),
        ([1, 1], [1, 1], 1, "at least 2 classes"),
    ],
)
def test_retention_names_bad_arguments(stress, clean, classes, message) -> None:
    with pytest.raises(ValueError, match=message):
        retention(stress, clean, classes)


@pytest.mark.parametrize(("share", "n"), [(0.01, 200), (0.003, 200), (0.1, 1000), (0.5, 200)])
def test_the_interval_covers_near_zero_accuracy(share: float, n: int) -> None:
    generator = np.random.default_rng(int(1000 * share))
    truth = (share - 0.1) / (0.9 - 0.1)
    estimates = []
    for _ in range(1500):
        clean = generator.random(n) < 0.9
        stress = np.where(clean, generator.random(n) < share, generator.random(n) < share)
        estimates.append(retention(stress, clean, 10))
    assert covered(estimates, truth) > 0.93  # .95 less 3.5 standard deviations of 1,500 trials


def test_an_interval_over_images_that_agrees_with_the_bootstrap() -> None:
    stress, clean = answers(0.4, 2000, 1), answers(0.8, 2000, 2)
    generator = np.random.default_rng(0)
    index = generator.integers(2000, size=(4000, 2000))
    draws = (stress[index].mean(1) - 0.1) / (clean[index].mean(1) - 0.1)
    found = retention(stress, clean, 10)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.004)


def test_nothing_right_under_stress_has_an_interval_of_some_width() -> None:
    found = retention(np.zeros(200, bool), answers(0.9, 200), 10)
    assert found.value == pytest.approx(-0.125)
    assert found.low < -0.125 < found.high < 0


def test_the_mean_over_images_is_the_quotient_and_their_spread_its_noise() -> None:
    sides = [answers(share, 1000, seed) for seed, share in enumerate((0.4, 0.8, 0.5, 0.7))]
    ours, theirs = (quotient_by_image(sides[k] - 0.1, sides[k + 1] - 0.1) for k in (0, 2))
    assert ours.mean() == pytest.approx(3 / 7)
    assert difference(ours, theirs, over="images").estimate.value == pytest.approx(3 / 7 - 4 / 6)
    noise = retention_noise(*(side[None] for side in sides), 10)
    assert (ours - theirs).std() / math.sqrt(1000) == pytest.approx(noise)


def test_the_noise_of_several_seeds_is_the_mean_of_each() -> None:
    clean, other = ([answers(share, 1000, seed) for seed in (at, at + 1)] for share, at in ((0.8, 1), (0.7, 3)))
    stress = [answers(0.4, 1000, 5), clean[1]]  # of the second seed nothing is lost, which is sure
    weak = [answers(0.5, 1000, seed) for seed in (7, 8)]
    sides = [np.stack(side) for side in (stress, clean, weak, other)]
    alone = [retention_noise(*(side[k : k + 1] for side in sides), 10) for k in (0, 1)]
    assert abs(alone[0] - alone[1]) > 0.001
    assert retention_noise(*sides, 10) == pytest.approx(sum(alone) / 2)


def test_a_quotient_without_a_denominator_is_refused() -> None:
    with pytest.raises(ValueError, match="sums to 0"):
        quotient_by_image([1, 0], [1, -1])
    with pytest.raises(ValueError, match="average over the other axis"):
        quotient_by_image(np.ones((2, 2)), np.ones(2))
