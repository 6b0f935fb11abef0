"""How many seeds a comparison takes: the power of the paired t-test."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats as scipy_stats
from scipy.special import ndtr

from kdbias.stats.comparison import SHOWN_P

MOST_SEEDS = 10_000
STRATA = 4_096  # of the distribution of the sample's standard deviation; four digits of the power


def power(effect: float, sd: float, seeds: int, tests: int = 1) -> float:
    """Give the probability that the paired t-test over ``seeds`` shows a true difference of ``effect``.

    ``sd`` is the standard deviation over seeds of the difference of a pair, in the unit of ``effect``. With ``tests``
    comparisons in one table the smallest p must be below .05 / ``tests``, as Holm's first step asks: that is the power
    of a single true difference among them.

    Raises:
        ValueError: ``effect`` is 0 or not finite, ``sd`` <= 0, fewer than two seeds, or fewer than one test.

    >>> round(power(effect=0.01, sd=0.006, seeds=5), 2)
    0.79
    """
    if not (effect != 0 and math.isfinite(effect)):
        raise ValueError(f"effect: must be a number other than 0, got {effect}")
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"sd: must be above 0, the standard deviation over seeds of the difference, got {sd}")
    if seeds < 2:
        raise ValueError(f"seeds: a t-test needs at least 2, got {seeds}")
    if tests < 1:
        raise ValueError(f"tests: must be at least 1, got {tests}")
    shift = abs(effect) / sd * math.sqrt(seeds)
    limit = float(scipy_stats.t.isf(SHOWN_P / tests / 2, seeds - 1))
    # A mean over the sample's standard deviation, because SciPy's series of the noncentral t do not always converge.
    spread = np.sqrt(scipy_stats.chi2.ppf((np.arange(STRATA) + 0.5) / STRATA, seeds - 1) / (seeds - 1))
    return float((ndtr(shift - limit * spread) + ndtr(-shift - limit * spread)).mean())


def seeds_needed(effect: float, sd: float, wanted: float = 0.8, tests: int = 1) -> int:
    """Give the fewest seeds with which the paired t-test shows a true ``effect`` with probability ``wanted``.

    Raises:
        ValueError: as `power`; ``wanted`` is not between 0 and 1; or more than 10,000 seeds would be needed.

    >>> seeds_needed(effect=0.01, sd=0.006)
    6
    """
    if not 0 < wanted < 1:
        raise ValueError(f"wanted: must lie between 0 and 1, got {wanted}")
    if power(effect, sd, MOST_SEEDS, tests) < wanted:
        raise ValueError(
            f"effect: more than {MOST_SEEDS:,} seeds would be needed to show {effect:g} where sd is {sd:g}"
        )
    low, high = 1, MOST_SEEDS  # power grows with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, sd, middle, tests) >= wanted else (middle, high)
    return high
