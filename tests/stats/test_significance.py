"""The tests of significance against closed forms, enumeration and SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats.bootstrap import PATTERNS
from kdbias.stats.significance import above_chance, holm, permutation_test


def test_above_chance_is_the_binomial_test() -> None:
    right = np.arange(200) < 28
    assert above_chance(right, 10) == pytest.approx(scipy_stats.binomtest(28, 200, 0.1, alternative="greater").pvalue)
    assert above_chance(np.zeros(5, bool), 10) == 1.0
    assert above_chance(np.ones(3, bool), 10) == pytest.approx(1e-3)


def test_the_permutation_test_is_exact() -> None:
    a, b = np.array([5.0, 3.1, 4.2, 1.0]), np.array([4.0, 3.0, 4.5, 0.2])
    signed = [sum(s * d for s, d in zip(signs, a - b, strict=True)) for signs in itertools.product([1, -1], repeat=4)]
    observed = (a - b).sum()
    assert permutation_test(a, b) == np.mean([abs(x) >= abs(observed) - 1e-12 for x in signed])
    assert permutation_test(a, b, "greater") == np.mean([x >= observed - 1e-12 for x in signed])
    assert permutation_test(b, a, "less") == permutation_test(a, b, "greater")


def test_three_seeds_cannot_give_less_than_a_quarter() -> None:
    assert permutation_test([1, 2, 3], [0, 0, 0]) == 0.25
    assert permutation_test([1, 2, 3], [1, 2, 3]) == 1.0


def test_the_sampled_permutation_test_agrees_with_scipys() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(0.25, 1, size=60)
    ours = permutation_test(a, np.zeros(60))
    theirs = scipy_stats.permutation_test(
        (a,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1, batch=2000
    ).pvalue
    assert ours == pytest.approx(theirs, abs=0.012)


def test_the_sampled_permutation_test_on_images_is_mcnemars() -> None:
    a, b = np.arange(400) < 200, (np.arange(400) < 178) | (np.arange(400) >= 392)  # 22 against 8 discordant images
    exact = scipy_stats.binomtest(8, 30, 0.5).pvalue
    assert permutation_test(a, b, resamples=50_000) == pytest.approx(exact, abs=0.003)


def test_the_many_valued_permutation_test_is_level() -> None:
    noise = np.random.default_rng(3).normal(size=(200, PATTERNS + 50))
    p = [permutation_test(x, np.zeros_like(x), resamples=300) for x in noise]
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p", [[math.nan], [1.2], [-0.1]])
def test_holm_refuses_what_is_no_p_value(p) -> None:
    with pytest.raises(ValueError, match="p values"):
        holm(p)


def test_a_sampled_p_is_never_0_as_the_observed_order_is_one_of_them():
    assert permutation_test(np.ones(40), np.zeros(40), resamples=100) == 1 / 101
