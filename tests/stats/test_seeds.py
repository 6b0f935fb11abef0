"""Means and quotients over seeds: intervals that cover what they promise, from two seeds on."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats import Estimate, fieller, seed_mean, transfer_index

TRIALS = 4000  # a share of .95 then has a standard deviation of .0034: .935 and .965 are 4.4 of them away


def covered(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_interval_of_a_mean_covers(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.3, 0.1, size=(TRIALS, n))
    assert 0.935 < covered([seed_mean(x) for x in draws], 0.3) < 0.965


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_fiellers_interval_covers(n: int) -> None:
    draws = np.random.default_rng(n).normal([0.2, 0.5], [0.05, 0.05], size=(TRIALS, n, 2))
    draws[..., 0] += draws[..., 1] - 0.5  # the control is in both
    assert 0.935 < covered([fieller(x[:, 0], x[:, 1]) for x in draws], 0.4) < 0.965


def test_the_interval_is_students() -> None:
    values = [0.91, 0.95, 0.90, 0.97]
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (seed_mean(values).low, seed_mean(values).high) == pytest.approx((theirs.low, theirs.high))
    assert seed_mean([0.0, 1.0]).high == pytest.approx(0.5 + 12.7062 * 0.5, abs=1e-3)  # half the range times 12.71


def test_equal_values_show_no_noise_unless_the_images_noise_is_known() -> None:
    for same in ([0.1, 0.1], [0.1 + 0.2, 0.3]):  # the second differ by rounding alone
        found = seed_mean(same)
        assert math.isnan(found.low)
        assert "no noise" in found.reason
    assert seed_mean([0.3, 0.3], noise=0.01).high == pytest.approx(0.3 + 12.7062 * 0.01 / math.sqrt(2), abs=1e-5)
    assert seed_mean([0.1, 0.5], noise=0.01) == seed_mean([0.1, 0.5])


def test_a_single_seed_has_no_interval() -> None:
    found = seed_mean([0.5])
    assert found.value == 0.5
    assert "one seed shows no noise" in found.reason


def test_the_interval_ends_at_what_is_possible() -> None:
    cut = seed_mean([0.85, 0.95, 0.99], within=(0, 1))
    assert cut.high == 1.0
    assert cut.low == seed_mean([0.85, 0.95, 0.99]).low


def test_a_quotient_by_noise_has_no_bounds() -> None:
    found = fieller([1.0, 2.0, 3.0], [-0.1, 0.2, 0.1])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_seeds_that_all_gave_the_same_quotient_show_no_noise() -> None:
    found = fieller([0.1] * 3, [0.3] * 3)
    assert found.value == pytest.approx(1 / 3)
    assert math.isnan(found.low)
    assert "no noise" in found.reason
    # a third in each, whatever the noise of its parts
    assert fieller([0.1, 0.11, 0.12], [0.3, 0.33, 0.36]).low == pytest.approx(1 / 3)
    index = transfer_index([0.6] * 3, [0.5] * 3, 0.8)
    assert index.value == pytest.approx(1 / 3)
    assert "no noise" in index.reason


def test_fieller_agrees_with_its_definition() -> None:
    above, below = np.array([0.3, 0.5, 0.4, 0.45]), np.array([0.8, 0.7, 0.9, 0.75])
    found = fieller(above, below)
    for end in (found.low, found.high):  # there the mean of above - q below is significant at exactly 5 %
        assert scipy_stats.ttest_1samp(above - end * below, 0).pvalue == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seed_mean([]), "n >= 1"),
        (lambda: seed_mean([0.1, math.nan]), "finite"),
        (lambda: seed_mean([0.1, 1.2], within=(0, 1)), "within"),
        (lambda: seed_mean([0.1, 0.2], noise=-1.0), "noise"),
        (lambda: seed_mean([[0.1, 0.2], [0.1, 0.2]]), "average over the other axis"),
        (lambda: fieller([1.0], [2.0]), "at least 2"),
        (lambda: fieller([1.0, 2.0], [2.0]), "one length"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
