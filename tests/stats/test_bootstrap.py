"""The bootstrap: intervals cover what they promise, also over few seeds; both ways of drawing agree."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats.bootstrap import PATTERNS, Estimate, bootstrap_mean, interval, resampled_means, rows_of


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_over_seeds_covers_even_for_few_seeds(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.3, 0.1, size=(500, n))
    estimates = [bootstrap_mean(x, 1000) for x in draws]
    assert np.mean([e.low <= 0.3 <= e.high for e in estimates]) > 0.9


def test_the_plain_percentile_interval_would_not() -> None:
    draws = np.random.default_rng(3).normal(0.3, 0.1, size=(500, 3))
    plain = [np.quantile(resampled_means(rows_of(x), 1000)[:, 0], [0.025, 0.975]) for x in draws]
    assert np.mean([low <= 0.3 <= high for low, high in plain]) < 0.8


def test_patterns_and_indices_give_the_same_distribution() -> None:
    values = np.random.default_rng(0).random(PATTERNS + 1)
    by_index = resampled_means(rows_of(values), 20_000)[:, 0]
    by_pattern = resampled_means(rows_of(np.round(values, 2)), 20_000)[:, 0]
    assert by_index.std() == pytest.approx(values.std() / math.sqrt(len(values)), rel=0.03)
    assert by_pattern.std() == pytest.approx(by_index.std(), rel=0.03)
    assert by_pattern.mean() == pytest.approx(values.mean(), abs=0.003)


def test_the_multinomial_bootstrap_is_the_binomial() -> None:
    right = np.arange(50) < 15
    draws = np.round(resampled_means(rows_of(right), 100_000)[:, 0] * 50)
    counts = np.bincount(draws.astype(int), minlength=51)
    expected = scipy_stats.binom.pmf(np.arange(51), 50, 0.3) * 100_000
    keep = expected > 20
    chi2 = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    assert scipy_stats.chi2.sf(chi2, keep.sum() - 1) > 0.001


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(4).exponential(size=400)
    theirs = scipy_stats.bootstrap((values,), np.mean, method="percentile", rng=1, n_resamples=20_000, batch=2000)
    ours = bootstrap_mean(values, 20_000)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_the_same_twice_and_another_generator_another_interval() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, generator=np.random.default_rng(1))


def test_a_nan_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Estimate(0.5, math.nan, 0.6)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([0.5, math.nan])


def test_one_value_has_no_interval_and_says_so() -> None:
    estimate = bootstrap_mean([0.5])
    assert estimate.value == 0.5
    assert math.isnan(estimate.low)
    assert "no interval" in estimate.reason


def test_the_widening_vanishes_with_many_images() -> None:
    draws = np.linspace(-1, 1, 10_001)
    assert interval(0.0, draws, 1_000_000).high == pytest.approx(0.95, abs=1e-3)
    # t(.975, 2) / z * sqrt(3 / 2)
    assert interval(0.0, draws, 3).high == pytest.approx(0.95 * 4.3027 / 1.95996 * math.sqrt(1.5), abs=1e-2)


def test_an_interval_of_few_seeds_ends_at_what_is_possible() -> None:
    free = bootstrap_mean([0.85, 0.95, 0.99])
    assert free.high > 1
    cut = bootstrap_mean([0.85, 0.95, 0.99], within=(0, 1))
    assert (cut.value, cut.low, cut.high) == (free.value, free.low, 1.0)
    with pytest.raises(ValueError, match="within"):
        bootstrap_mean([0.5, 1.1], within=(0, 1))
