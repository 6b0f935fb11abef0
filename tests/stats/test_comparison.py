"""Differences: their verdicts, the correction over a family, and equivalence."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats import difference, family, image_noise, permutation_test


def test_several_seeds_of_images_are_not_taken_for_pairs() -> None:
    right = np.ones((2, 100))
    with pytest.raises(ValueError, match=r"got \(2, 100\) and \(2, 100\): average over the other axis"):
        difference(right, right - 0.5)


def test_a_difference_within_the_noise_is_not_shown() -> None:
    assert difference([0.9005, 0.9010, 0.8990], [0.9011, 0.8995, 0.9001]).verdict == "no difference shown"
    assert difference([0.9005], [0.9011]).verdict == "no difference shown"
    assert difference([0.95, 0.96, 0.955], [0.90, 0.905, 0.90]).verdict == "higher"
    assert difference([0.90, 0.905, 0.90], [0.95, 0.96, 0.955]).verdict == "lower"


def test_differences_that_are_rounding_are_none() -> None:
    values = np.array([0.71, 0.72, 0.74, 0.73])
    found = difference(values * (1 + np.array([1, 2, 1, 1]) * 2e-16), values, smallest=0.2)
    assert (found.estimate.value, found.p, found.verdict) == (0.0, 1.0, "no difference shown")
    assert found.estimate.reason.startswith("all seeds gave the same")


TRIALS = 4000  # a share of .95 then has a standard deviation of .0034: .935 and .965 are 4.4 of them away


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_interval_of_a_paired_difference_covers(n: int) -> None:
    generator = np.random.default_rng(n)
    found = [difference(*(generator.normal(size=n) + 0.3 * k for k in (1, 0))).estimate for _ in range(TRIALS)]
    assert 0.935 < np.mean([e.low <= 0.3 <= e.high for e in found]) < 0.965


@pytest.mark.parametrize("n", [2, 3, 5])
def test_seventeen_rows_where_nothing_is_true_show_something_one_time_in_twenty(n: int) -> None:
    generator = np.random.default_rng(n)
    wrong = 0
    for _ in range(500):
        control = generator.normal(size=n)
        rows = [difference(generator.normal(size=n), control) for _ in range(17)]
        wrong += any(one.shown for one in family(rows))
    assert wrong / 500 <= 0.06 + 0.01  # .05 has a standard deviation of .0097 here; without Holm it is .45 and more


def test_p_is_that_of_the_paired_t_test() -> None:
    a, b = [0.91, 0.93, 0.95, 0.90], [0.90, 0.90, 0.94, 0.90]
    assert difference(a, b).p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    for side in ("greater", "less"):
        assert difference(a, b, side).p == pytest.approx(scipy_stats.ttest_rel(a, b, alternative=side).pvalue)
    assert difference(a, b).permutation is None
    six = np.random.default_rng(0).normal(size=(2, 6))
    assert difference(*six).permutation == permutation_test(*six)


def test_over_images_p_is_that_of_the_permutation_test() -> None:
    a, b = np.arange(400) < 200, (np.arange(400) < 178) | (np.arange(400) >= 392)  # 22 against 8 discordant images
    found = difference(a, b, over="images")
    assert found.p == pytest.approx(scipy_stats.binomtest(8, 30, 0.5).pvalue, abs=0.006)
    assert found.permutation is None


def test_the_verdict_follows_the_corrected_p() -> None:
    one = difference([0.95, 0.96, 0.955], [0.93, 0.93, 0.93])
    assert one.p < 0.05
    assert one.verdict == "higher"
    together = family([one, *[difference([0.9, 0.8, 0.85], [0.85, 0.82, 0.88])] * 16])
    assert together[0].corrected == pytest.approx(17 * one.p)
    assert together[0].verdict == "no difference shown"
    assert family([]) == []


def test_equal_differences_of_two_seeds_show_nothing() -> None:
    found = difference([0.6, 0.7], [0.5, 0.6])
    assert found.verdict == "no difference shown"
    assert found.p == 1
    assert math.isnan(found.estimate.low)
    floored = difference([0.6, 0.7], [0.5, 0.6], noise=0.005)
    assert floored.estimate.low < 0.1 < floored.estimate.high
    assert floored.p == pytest.approx(scipy_stats.t.sf(0.1 / (0.005 / math.sqrt(2)), 1) * 2)


def test_a_small_difference_can_be_shown_to_be_small() -> None:
    a, b = np.array([0.90, 0.91, 0.92, 0.93]), np.array([0.9005, 0.9095, 0.9205, 0.9295])
    assert difference(a, b).verdict == "no difference shown"
    assert difference(a, b, smallest=0.01).verdict == "equal"
    assert difference(a, b, smallest=0.0004).verdict == "no difference shown"
    low, high = scipy_stats.ttest_rel(a, b).confidence_interval(0.9)  # two one-sided tests at 5 %
    edge = max(abs(low), abs(high))
    assert difference(a, b, smallest=edge).equal_p == pytest.approx(0.05)
    noisy = [difference(a, b, smallest=1.1 * edge), *[difference(a, b[::-1], smallest=1e-3)] * 9]
    assert noisy[0].equal
    assert not family(noisy)[0].equal
    with pytest.raises(ValueError, match="smallest"):
        difference(a, b, smallest=0.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_large_difference_is_shown_to_be_larger_than_what_its_interval_leaves_out(sign: int) -> None:
    a, b = sign * np.array([0.90, 0.91, 0.92, 0.93]), sign * np.array([0.70, 0.72, 0.71, 0.74])
    edge = scipy_stats.ttest_rel(sign * a, sign * b).confidence_interval(0.95).low
    assert difference(a, b, smallest=edge).larger_p == pytest.approx(0.05)
    inside = difference(a, b, smallest=0.9 * edge)
    assert (inside.larger, difference(a, b, smallest=1.1 * edge).larger) == (True, False)
    corrected = family([inside, *[difference(a, a + 1e-3 * b, smallest=0.1)] * 9, difference(a, b)])
    assert corrected[0].larger_corrected == pytest.approx(min(1.0, 10 * inside.larger_p))
    assert (corrected[0].larger, corrected[-1].larger_corrected, corrected[-1].larger) == (False, None, False)
    assert difference([0.9, 0.9], [0.1, 0.1], smallest=0.2).larger_p == 1  # no noise to compare with


def test_the_noise_of_the_images_is_that_of_a_difference_of_shares() -> None:
    right = np.random.default_rng(0).random((3, 2, 1000)) < 0.5
    assert image_noise(right[:, 0], right[:, 1]) == pytest.approx(math.sqrt(0.5 / 1000), rel=0.05)
    with pytest.raises(ValueError, match="one shape"):
        image_noise(right[:, 0], right[0])
