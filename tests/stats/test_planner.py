"""The planner: how many seeds a comparison takes."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdbias.stats import difference, equal_power, power, seeds_needed, smallest_shown


@pytest.mark.parametrize(("seeds", "tests"), [(2, 1), (5, 1), (5, 17), (8, 1)])
def test_power_is_what_the_test_shows_in_simulations(seeds: int, tests: int) -> None:
    draws = np.random.default_rng(seeds).normal(0.01, 0.006, size=(20_000, seeds))
    shown = (scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05 / tests).mean()
    assert power(0.01, 0.006, seeds, tests) == pytest.approx(shown, abs=0.011)  # three standard deviations


@pytest.mark.parametrize(("seeds", "tests"), [(3, 1), (6, 1), (6, 5)])
def test_the_power_of_equality_is_what_two_one_sided_tests_show_in_simulations(seeds: int, tests: int) -> None:
    draws = np.random.default_rng(seeds).normal(0, 0.006, size=(3_000, seeds))
    found = [difference(each, np.zeros(seeds), smallest=0.01).equal_p for each in draws]
    shown = np.mean([p is not None and p < 0.05 / tests for p in found])
    assert equal_power(0.01, 0.006, seeds, tests) == pytest.approx(shown, abs=0.028)  # three standard deviations


@pytest.mark.parametrize("equal", [False, True])
def test_the_smallest_difference_that_is_shown_has_the_wanted_power(equal: bool) -> None:
    shows = equal_power if equal else power
    found = smallest_shown(0.006, 5, wanted=0.8, tests=3, equal=equal)
    assert shows(found, 0.006, 5, 3) == pytest.approx(0.8, abs=1e-6)
    assert smallest_shown(0.6, 5, tests=3, equal=equal) == pytest.approx(100 * found)
    needed = seeds_needed(found, 0.006, 0.799, tests=3, equal=equal)
    assert needed == 5
    with pytest.raises(ValueError, match="wanted"):
        smallest_shown(0.006, 5, wanted=0.0)


def test_the_fewest_seeds() -> None:
    found = seeds_needed(0.01, 0.006)
    assert power(0.01, 0.006, found - 1) < 0.8 <= power(0.01, 0.006, found)
    assert seeds_needed(-0.01, 0.006) == found
    assert seeds_needed(0.01, 0.006, wanted=0.9) > found
    assert seeds_needed(0.01, 0.006, tests=17) > found
    assert seeds_needed(1.0, 0.0001) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effect": 0.0, "sd": 0.1}, "effect"),
        ({"effect": 0.1, "sd": 0.0}, "sd"),
        ({"effect": 0.1, "sd": 0.1, "wanted": 1.0}, "wanted"),
        ({"effect": 0.1, "sd": 0.1, "tests": 0}, "tests"),
        ({"effect": 1e-6, "sd": 1.0}, "more than 10,000 seeds"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeds_needed(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2"):
        power(0.1, 0.1, seeds=1)
