"""The scores: values, intervals, what is refused and why, and the time they take."""

import math
import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats import (
    Estimate,
    accuracy,
    bootstrap_mean,
    difference,
    mean_std,
    permutation_test,
    ratio,
    retention,
    transfer_index,
    transfer_index_images,
)


def answers(share: float, n: int, seed: int = 0) -> np.ndarray:
    """Give exactly ``round(share * n)`` right answers, in random order."""
    right = np.arange(n) < round(share * n)
    return np.random.default_rng(seed).permutation(right)


def covered(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


# A share of 500 trials with probability .95 has a standard deviation of .0097: .92 is three of them below.


def test_the_interval_of_retention_covers() -> None:
    generator = np.random.default_rng(1)
    truth = (0.4 - 0.1) / (0.8 - 0.1)
    estimates = []
    for _ in range(500):
        clean = generator.random(400) < 0.8
        stress = np.where(clean, generator.random(400) < 0.45, generator.random(400) < 0.2)  # .36 + .04
        estimates.append(retention(stress, clean, 10, resamples=1000))
    assert 0.92 < covered(estimates, truth) < 0.98


def test_the_interval_of_the_transfer_index_covers() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 0.03, size=(500, 3, 3))
    estimates = [transfer_index(0.5 + s, 0.3 + c, 0.8 + t, resamples=1000) for s, c, t in noise]
    assert covered([e for e in estimates if not e.refused], 0.4) > 0.92


def test_ten_thousand_resamples_of_ten_thousand_images_in_two_seconds() -> None:
    n = 10_000
    stress, clean, student = answers(0.5, n, 1), answers(0.9, n, 2), answers(0.6, n, 3)
    jobs = {
        "retention": lambda: retention(stress, clean, 10),
        "difference": lambda: difference(stress, clean),
        "index": lambda: transfer_index_images(student, stress, clean),
        "real values": lambda: bootstrap_mean(np.random.default_rng(0).random(n)),
        "permutation of real values": lambda: permutation_test(np.random.default_rng(0).random(n), np.zeros(n)),
    }
    for name, job in jobs.items():
        start = time.process_time()
        job()
        assert time.process_time() - start < 2, name


def test_sampling_error_of_ten_thousand_images() -> None:
    estimate = accuracy(answers(0.9, 10_000))
    assert estimate.value == 0.9
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * 0.003, rel=0.01)


@pytest.mark.parametrize(("right", "low", "high"), [(True, 0.7225, 1.0), (False, 0.0, 0.2775)])
def test_accuracy_of_ten_equal_answers_keeps_an_interval(right: bool, low: float, high: float) -> None:
    estimate = accuracy(np.full(10, right))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-4)  # z² / (n + z²) = .2775


def test_retention_and_ratio_values() -> None:
    stress, clean = answers(0.4, 1000, 1), answers(0.8, 1000, 2)
    assert retention(stress, clean, 10).value == pytest.approx(3 / 7)
    assert ratio(stress, clean, 10).value == pytest.approx(0.5)


def test_retention_of_the_clean_images_is_one_without_noise() -> None:
    clean = answers(0.3, 500)
    estimate = retention(clean, clean, 10)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))


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


CONTROL = np.array([0.21, 0.20, 0.22])
TEACHER = np.array([0.98, 0.99, 0.97])


def test_an_exact_copy_of_the_teacher_is_one_and_of_the_control_zero() -> None:
    copy, nothing = transfer_index(TEACHER, CONTROL, TEACHER), transfer_index(CONTROL, CONTROL, TEACHER)
    assert (copy.value, copy.low, copy.high) == pytest.approx((1, 1, 1))
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, 0, 0))


def test_the_index_is_of_means_and_holds_below_the_control_too() -> None:
    assert transfer_index(CONTROL + 0.1, CONTROL, CONTROL - 0.2).value == pytest.approx(-0.5)
    estimate = transfer_index([0.5, 0.7], [0.2, 0.2], [1.0, 1.0])
    assert estimate.value == pytest.approx(0.5)
    assert estimate.low < 0.375 < 0.625 < estimate.high


@pytest.mark.parametrize("teacher", [0.9, [0.9], [0.9, 0.9, 0.9]])
def test_one_teacher_may_serve_all_seeds(teacher) -> None:
    assert transfer_index([0.5, 0.6, 0.55], CONTROL, teacher).value == pytest.approx((0.55 - 0.21) / (0.9 - 0.21))


def test_nothing_to_transfer_is_refused() -> None:
    refused = transfer_index([0.3, 0.4, 0.5], [0.30, 0.36, 0.33], [0.34, 0.32, 0.36])
    assert refused.refused
    assert "inside its own noise" in refused.reason


def test_noise_is_refused_most_of_the_time() -> None:
    noise = np.random.default_rng(7).normal(size=(300, 3, 3))
    assert np.mean([transfer_index(*n, resamples=500).refused for n in noise]) > 0.9


@pytest.mark.parametrize(
    ("student", "control", "teacher", "reason"),
    [([0.5], [0.2], [0.9], "one seed"), ([0.5, math.nan], [0.2, 0.2], [0.9, 0.9], "some seeds of: student")],
)
def test_too_little_is_refused(student, control, teacher, reason) -> None:
    assert reason in transfer_index(student, control, teacher).reason


def test_unlike_numbers_of_seeds_are_an_error() -> None:
    with pytest.raises(ValueError, match="one score for each seed"):
        transfer_index([0.5, 0.5], [0.2, 0.2, 0.2], [0.9])


def decisions(shape: int, texture: int, n: int, seed: int) -> np.ndarray:
    """Give ``(n, 2)``: decided for shape; decided for either cue."""
    kinds = np.array([[1, 1]] * shape + [[0, 1]] * texture + [[0, 0]] * (n - shape - texture))
    return np.random.default_rng(seed).permutation(kinds)


def test_the_index_over_images_is_of_shape_shares() -> None:
    control, student, teacher = decisions(100, 400, 600, 1), decisions(200, 200, 600, 2), decisions(450, 50, 600, 3)
    estimate = transfer_index_images(student, control, teacher)
    assert estimate.value == pytest.approx((0.5 - 0.2) / (0.9 - 0.2))
    assert 0.3 < estimate.low < estimate.value < estimate.high < 0.6
    assert transfer_index_images(teacher, control, teacher).value == pytest.approx(1)
    assert "over 600 images" in transfer_index_images(student, control, decisions(101, 399, 600, 4)).reason


def test_an_index_over_images_without_decisions_is_refused() -> None:
    none = np.zeros((600, 2))
    reason = transfer_index_images(none, decisions(100, 400, 600, 1), decisions(450, 50, 600, 3)).reason
    assert reason.startswith("too few images count for: student")


def test_mean_and_standard_deviation() -> None:
    assert mean_std([1, 2, 3]) == (2.0, 1.0)
    assert math.isnan(mean_std([1])[1])


def test_several_seeds_of_images_are_not_taken_for_pairs() -> None:
    right = np.ones((2, 100))
    with pytest.raises(ValueError, match=r"got \(2, 100\) and \(2, 100\): average over the other axis"):
        difference(right, right - 0.5)


def test_a_difference_within_the_noise_is_not_shown() -> None:
    assert difference([0.9005, 0.9010, 0.8990], [0.9011, 0.8995, 0.9001]).verdict == "no difference shown"
    assert difference([0.9005], [0.9011]).verdict == "no difference shown"
    assert difference([0.95, 0.96, 0.955], [0.90, 0.905, 0.90]).verdict == "higher"
    assert difference([0.90, 0.905, 0.90], [0.95, 0.96, 0.955]).verdict == "lower"
