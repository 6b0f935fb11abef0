"""The scores: values, intervals, what is refused and why, and the time they take."""

import math
import time

import numpy as np
import pytest

from kdbias.stats import (
    Estimate,
    accuracy,
    bootstrap_mean,
    difference,
    mean_std,
    permutation_test,
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


def test_the_interval_of_the_transfer_index_covers() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 0.03, size=(4000, 3, 3))
    estimates = [transfer_index(0.5 + s, 0.3 + c, 0.8 + t) for s, c, t in noise]
    known = [e for e in estimates if not e.refused]
    assert len(known) > 0.99 * len(estimates)
    assert 0.935 < covered(known, 0.4) < 0.965


def test_ten_thousand_resamples_of_ten_thousand_images_in_two_seconds() -> None:
    n = 10_000
    stress, clean, student = answers(0.5, n, 1), answers(0.9, n, 2), answers(0.6, n, 3)
    jobs = {
        "retention": lambda: retention(stress, clean, 10),
        "difference": lambda: difference(stress, clean, over="images"),
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


CONTROL = np.array([0.21, 0.20, 0.22])
TEACHER = np.array([0.98, 0.99, 0.97])


def test_an_exact_copy_of_the_teacher_is_one_and_of_the_control_zero() -> None:
    copy, nothing = transfer_index(TEACHER, CONTROL, TEACHER), transfer_index(CONTROL, CONTROL, TEACHER)
    assert (copy.value, copy.low, copy.high) == pytest.approx((1, 1, 1))
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, 0, 0))


def test_the_index_is_of_means_and_holds_below_the_control_too() -> None:
    assert transfer_index(CONTROL + 0.1, CONTROL, CONTROL - 0.2).value == pytest.approx(-0.5)
    estimate = transfer_index([0.5, 0.7, 0.6], [0.2, 0.2, 0.2], [1.0, 1.0, 1.0])
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
    assert np.mean([transfer_index(*n).refused for n in noise]) > 0.9


@pytest.mark.parametrize(
    ("student", "control", "teacher", "reason"),
    [
        ([0.5], [0.2], [0.9], "1 seed shows too little"),
        ([0.5, 0.6], [0.2, 0.3], [0.9, 0.9], "2 seeds show too little"),
        ([0.5, math.nan], [0.2, 0.2], [0.9, 0.9], "some seeds of: student"),
    ],
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


def test_an_index_over_images_of_a_copy_has_no_noise():
    rng = np.random.default_rng(0)
    hard = rng.random(400)
    control, teacher = (hard + rng.normal(0, 0.2, 400) < level for level in (0.4, 0.7))
    for student, expected in ((control, 0.0), (teacher, 1.0)):
        found = transfer_index_images(student, control, teacher)
        assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3, abs=1e-12)
