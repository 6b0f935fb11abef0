"""Resampling: an estimate with its interval, from images or from seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
ANYWHERE = (-math.inf, math.inf)
PATTERNS = 256  # above this number of distinct rows, drawing indices is faster than drawing counts
CHUNK = 4_000_000  # indices drawn at once; 16 MB


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, or the reason why there is none.

    A refused estimate is NaN in all numbers. One with a value but no interval (a single seed) has NaN bounds. Both
    state why in ``reason``; a NaN without a reason is a ``ValueError``.
    """

    value: float
    low: float
    high: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.reason and any(math.isnan(x) for x in (self.value, self.low, self.high)):
            raise ValueError(f"an Estimate with NaN needs a reason, got {self}")

    @classmethod
    def refuse(cls, reason: str) -> Estimate:
        """Give an estimate without a number, and the reason."""
        return cls(math.nan, math.nan, math.nan, reason)

    @property
    def refused(self) -> bool:
        """Whether there is no value."""
        return math.isnan(self.value)

    def holds(self, number: float) -> bool:
        """Whether ``number`` is in the interval; True without an interval, because then no number is excluded."""
        return not (number < self.low or number > self.high)


def rows_of(*columns: ArrayLike) -> Floats:
    """Stack arrays over the same images or seeds, each ``(n,)`` or ``(n, k)``, to ``(n, columns)`` float64.

    Raises:
        ValueError: the arrays are empty, of unlike length, or hold a NaN or an infinity.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    lengths = [array.shape[0] if array.ndim in (1, 2) else -1 for array in arrays]
    if len(set(lengths)) != 1 or lengths[0] < 1:
        raise ValueError(f"expected arrays (n,) or (n, k) of one length n >= 1, got {[a.shape for a in arrays]}")
    rows = np.column_stack(arrays)
    if not np.isfinite(rows).all():
        raise ValueError("expected finite numbers, got NaN or infinity")
    return rows


def pairs_of(a: ArrayLike, b: ArrayLike) -> Floats:
    """Stack two arrays ``(n,)`` over the same images or seeds to ``(n, 2)`` float64.

    Raises:
        ValueError: as ``rows_of``, or an array has another axis, over which it would have to be averaged first.
    """
    rows = rows_of(a, b)
    if rows.shape[1] != 2:
        raise ValueError(f"expected two arrays (n,), got {np.shape(a)} and {np.shape(b)}: average over the other axis")
    return rows


def resampled_means(rows: Floats, resamples: int = RESAMPLES, generator: np.random.Generator | None = None) -> Floats:
    """Means of each column in ``resamples`` bootstrap samples of the rows: ``(n, k)`` to ``(resamples, k)``.

    If rows have few distinct values, a bootstrap sample is drawn as multinomial counts of these values: the same
    distribution at a thousandth of the cost. Other rows are drawn by index. ``generator`` is seeded with 0
    unless given.
    """
    generator = np.random.default_rng(0) if generator is None else generator
    n = rows.shape[0]
    patterns, counts = np.unique(rows, axis=0, return_counts=True)
    if len(patterns) <= PATTERNS:
        drawn = generator.multinomial(n, counts / n, size=resamples)
        return np.asarray(drawn @ patterns / n, dtype=np.float64)
    means = np.empty((resamples, rows.shape[1]))
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        index = generator.integers(n, size=(size, n), dtype=np.uint32)
        for column in range(rows.shape[1]):
            means[start : start + size, column] = rows[:, column].take(index).mean(axis=1)
    return means


def quotients(above: Floats, below: Floats) -> Floats:
    """Divide the draws ``(resamples,)`` of one mean by those of another, whose true value is above 0.

    If a draw of it is 0 or below, the quotient is infinite, with the sign of ``above``.
    """
    inside = below > 0
    found: Floats = np.where(inside, above / np.where(inside, below, 1.0), np.copysign(np.inf, above))
    return found


def interval(value: float, draws: Floats, n: int, within: tuple[float, float] = ANYWHERE) -> Estimate:
    """Give the 95 % bootstrap interval of ``value`` from its ``draws`` ``(resamples,)`` of ``n`` units.

    It is the percentile interval with both arms widened by ``sqrt(n / (n - 1)) * t / z``. Resampling n units
    underestimates their spread: the plain interval over three seeds covers 75 %, because it cannot exceed the smallest
    and the largest value. With thousands of images the factor is 1. Hesterberg 2015, "What teachers should know about
    the bootstrap", arXiv:1411.5279. ``within`` is the range of possible values, to which the interval is clipped. A
    single unit has no interval; the reason says so.
    """
    if n < 2:
        return Estimate(value, math.nan, math.nan, "one seed or image shows no noise, so there is no interval")
    tail = (1 - LEVEL) / 2
    widen = math.sqrt(n / (n - 1)) * float(scipy.special.stdtrit(n - 1, tail) / scipy.special.ndtri(tail))
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    low, high = value - (value - float(low)) * widen, value + (float(high) - value) * widen
    return Estimate(value, max(low, within[0]), min(high, within[1]))


def bootstrap_mean(
    values: ArrayLike,
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
    within: tuple[float, float] = ANYWHERE,
) -> Estimate:
    """Give the mean of ``values`` ``(n,)``, one per image or one per seed, with its bootstrap interval.

    One value gives an estimate without an interval, with the reason. ``within`` is the range of possible values, (0, 1)
    for an accuracy. An interval over few seeds can exceed it and is clipped to it.

    Raises:
        ValueError: no values, a NaN among them, or one that is not ``within``.

    >>> found = bootstrap_mean([0.0, 1.0] * 50, within=(0, 1))
    >>> found.value, found.holds(0.4), found.holds(0.3)  # .5 ± .1
    (0.5, True, False)
    """
    rows = rows_of(values)
    if not ((rows >= within[0]) & (rows <= within[1])).all():
        raise ValueError(f"expected values within {within}, got {rows.min():.4g} to {rows.max():.4g}")
    draws = resampled_means(rows, resamples, generator)[:, 0]
    return interval(float(rows.mean()), draws, len(rows), within)
