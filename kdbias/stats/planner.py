"""How many seeds a comparison takes: the power of the paired t-test, and of the two one-sided tests of equality."""

from __future__ import annotations

import math

import numpy as np
import scipy

from kdbias.stats.bootstrap import Floats
from kdbias.stats.comparison import SHOWN_P

MOST_SEEDS = 10_000
STRATA = 4_096  # of the distribution of the sample's standard deviation; four digits of the power
WANTED = 0.8
"""The power that a plan asks for unless it says otherwise."""


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
    _require(sd, seeds, tests)
    shift = abs(effect) / sd * math.sqrt(seeds)
    limit = float(scipy.stats.t.isf(SHOWN_P / tests / 2, seeds - 1))
    spread = _spread(seeds)
    return float((scipy.special.ndtr(shift - limit * spread) + scipy.special.ndtr(-shift - limit * spread)).mean())


def equal_power(margin: float, sd: float, seeds: int, tests: int = 1) -> float:
    """Give the probability that two one-sided t-tests show a difference within ±``margin`` where there is none.

    The arguments are those of `power`; the true difference is 0.

    Raises:
        ValueError: ``margin`` <= 0 or not finite; else as `power`.

    >>> round(equal_power(margin=0.01, sd=0.006, seeds=5), 2)
    0.84
    """
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin: must be above 0, got {margin}")
    _require(sd, seeds, tests)
    limit = float(scipy.stats.t.isf(SHOWN_P / tests, seeds - 1))
    room = margin / sd * math.sqrt(seeds) - limit * _spread(seeds)
    return float(np.maximum(2 * scipy.special.ndtr(room) - 1, 0).mean())


def seeds_needed(effect: float, sd: float, wanted: float = WANTED, tests: int = 1, *, equal: bool = False) -> int:
    """Give the fewest seeds with which the paired t-test shows a true ``effect`` with probability ``wanted``.

    With ``equal`` they are those with which a true difference of 0 is shown to be within ±``effect``.

    Raises:
        ValueError: as `power`; ``wanted`` is not between 0 and 1; or more than 10,000 seeds would be needed.

    >>> seeds_needed(effect=0.01, sd=0.006), seeds_needed(effect=0.01, sd=0.006, equal=True)
    (6, 5)
    """
    if not 0 < wanted < 1:
        raise ValueError(f"wanted: must lie between 0 and 1, got {wanted}")
    shows = equal_power if equal else power
    if shows(effect, sd, MOST_SEEDS, tests) < wanted:
        raise ValueError(
            f"effect: more than {MOST_SEEDS:,} seeds would be needed to show {effect:g} where sd is {sd:g}"
        )
    low, high = 1, MOST_SEEDS  # power grows with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(effect, sd, middle, tests) >= wanted else (middle, high)
    return high


def smallest_shown(sd: float, seeds: int, wanted: float = WANTED, tests: int = 1, *, equal: bool = False) -> float:
    """Give the smallest true difference that ``seeds`` show with probability ``wanted``, in the unit of ``sd``.

    With ``equal`` it is the smallest margin within which a true difference of 0 is shown to lie.

    Raises:
        ValueError: as `power`; or ``wanted`` is not between 0 and 1.

    >>> round(smallest_shown(sd=0.006, seeds=6), 4)
    0.0086
    """
    if not 0 < wanted < 1:
        raise ValueError(f"wanted: must lie between 0 and 1, got {wanted}")
    shows = equal_power if equal else power
    low, high = 0.0, sd
    while shows(high, sd, seeds, tests) < wanted:
        low, high = high, 2 * high
    for _ in range(50):  # halves the gap each time
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle, sd, seeds, tests) >= wanted else (middle, high)
    return high


def _require(sd: float, seeds: int, tests: int) -> None:
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"sd: must be above 0, the standard deviation over seeds of the difference, got {sd}")
    if seeds < 2:
        raise ValueError(f"seeds: a t-test needs at least 2, got {seeds}")
    if tests < 1:
        raise ValueError(f"tests: must be at least 1, got {tests}")


def _spread(seeds: int) -> Floats:
    """The sample's standard deviation over the true one, in strata of equal probability.

    A mean over it gives the power, because SciPy's series of the noncentral t do not always converge.
    """
    strata = (np.arange(STRATA) + 0.5) / STRATA
    return np.asarray(np.sqrt(scipy.stats.chi2.ppf(strata, seeds - 1) / (seeds - 1)), dtype=np.float64)
