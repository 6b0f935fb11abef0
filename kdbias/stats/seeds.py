"""Means and quotients over a handful of seeds: Student's and Fieller's intervals."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import ANYWHERE, LEVEL, Estimate, Floats, pairs_of, rows_of

SAME = "all seeds gave the same, which shows no noise: there is no interval"
ROUNDING = 1e-12
"""Values that differ by less than this share of the largest are the same."""


def t_quantile(n: int) -> float:
    """Give the half width of a 95 % interval of n values, in standard errors: 12.71 for two, 4.30 for three."""
    return -float(scipy.special.stdtrit(n - 1, (1 - LEVEL) / 2))


def standard_error(values: Floats, noise: float = 0.0) -> float:
    """Give the standard error of the mean of ``values`` ``(n,)``; 0 if they are all the same, NaN for a single one.

    ``noise`` is a floor for their standard deviation.
    """
    if len(values) < 2:
        return math.nan
    spread = float(values.std(ddof=1))
    spread = 0.0 if spread <= ROUNDING * float(np.abs(values).max()) else spread
    return max(spread, noise) / math.sqrt(len(values))


def seed_mean(values: ArrayLike, within: tuple[float, float] = ANYWHERE, noise: float = 0.0) -> Estimate:
    """Give the mean of ``values`` ``(n,)``, one for each seed, with Student's interval: mean ± t(n - 1) s / sqrt(n).

    ``within`` is the range of possible values, to which the interval is clipped. ``noise`` is the standard deviation
    that the images alone give each value, a floor for s: two seeds may agree by accident. Without it, equal values have
    no interval, because they show no noise. Nor has a single value. The reason says so.

    Raises:
        ValueError: no values, a NaN among them, or one that is not ``within``; or a negative ``noise``.

    >>> found = seed_mean([1.0, 2.0, 3.0])  # 2 ± 4.303 / sqrt(3)
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (-0.484, 2.0, 4.484)
    """
    rows = rows_of(values)
    if rows.shape[1] != 1:
        raise ValueError(f"expected one value for each seed, got {np.shape(values)}: average over the other axis")
    if not ((rows >= within[0]) & (rows <= within[1])).all():
        raise ValueError(f"expected values within {within}, got {rows.min():.4g} to {rows.max():.4g}")
    if not noise >= 0:
        raise ValueError(f"noise is a standard deviation, >= 0, got {noise}")
    mean, error = float(rows.mean()), standard_error(rows[:, 0], noise)
    if len(rows) < 2:
        return Estimate(mean, math.nan, math.nan, "one seed shows no noise, so there is no interval")
    if error == 0:
        return Estimate(mean, math.nan, math.nan, SAME)
    half = t_quantile(len(rows)) * error
    return Estimate(mean, max(mean - half, within[0]), min(mean + half, within[1]))


def fieller(numerator: ArrayLike, denominator: ArrayLike) -> Estimate:
    """Give the quotient of two means over the same seeds, each ``(n,)`` with n >= 2, with Fieller's 95 % interval.

    The interval holds every quotient q for which the mean of numerator - q denominator is within its own noise of 0. If
    the denominator is within its own noise of 0, these quotients have no bounds, and the interval is from -inf to inf.
    (Where they are two half-lines, what lies between is included.) Seeds that all gave the same show no noise, so there
    is no interval.

    Raises:
        ValueError: as ``pairs_of``, or fewer than two seeds.

    Source: Fieller 1954, doi 10.1111/j.2517-6161.1954.tb00159.x.

    >>> found = fieller([0.3, 0.5, 0.4], [0.8, 0.8, 0.8])
    >>> round(found.low, 3), round(found.value, 3), round(found.high, 3)  # .5 ± 4.303 · .1 / sqrt(3) / .8
    (0.189, 0.5, 0.811)
    """
    rows = pairs_of(numerator, denominator)
    n = len(rows)
    if n < 2:
        raise ValueError("Fieller's interval needs at least 2 seeds")
    above, below = (float(mean) for mean in rows.mean(axis=0))
    (var_above, cov), (_, var_below) = (np.cov(rows.T, ddof=1) / n).tolist()
    square = t_quantile(n) ** 2
    # q is in the interval if (above - q below)² <= square (var_above - 2 q cov + q² var_below): a q² - 2 b q + c <= 0
    a, b, c = below**2 - square * var_below, above * below - square * cov, above**2 - square * var_above
    value = above / below if below else math.copysign(math.inf, above)
    if below and (np.ptp(rows, axis=0) <= ROUNDING * np.abs(rows).max(axis=0)).all():
        return Estimate(value, math.nan, math.nan, SAME)
    if a <= 0:
        return Estimate(value, -math.inf, math.inf)
    half = math.sqrt(max(b**2 - a * c, 0.0))
    return Estimate(value, (b - half) / a, (b + half) / a)
