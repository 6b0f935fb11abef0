"""Resampling: an estimate with its interval, from images or from seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
ANYWHERE = (-math.inf, math.inf)
PATTERNS = 256  # with more distinct rows than this, drawing indices is faster than drawing counts
CHUNK = 4_000_000  # indices drawn at once; 16 MB


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, or the reason why there is none.

    A refused estimate is NaN throughout; one that has a value but no interval (a single seed) has NaN bounds. Either
    says why in ``reason``: a NaN without a reason is a ``ValueError``.
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
        """Give no number, and say why."""
        return cls(math.nan, math.nan, math.nan, reason)

    @property
    def refused(self) -> bool:
        """Whether there is no value."""
        return math.isnan(self.value)

    def holds(self, number: float) -> bool:
        """Whether ``number`` lies within the interval; True where there is no interval, which excludes nothing."""
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

    A bootstrap sample of rows that take few distinct values is a multinomial draw of how often each value comes, which
    is the same distribution at a thousandth of the cost; other rows are drawn by index. ``generator`` is seeded with 0
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


def interval(value: float, draws: Floats, n: int, within: tuple[float, float] = ANYWHERE) -> Estimate:
    """Give the 95 % bootstrap interval of ``value`` from its ``draws`` ``(resamples,)`` of ``n`` units.

    The percentile interval, with its two arms widened by ``sqrt(n / (n - 1)) * t / z``: resampling n units
    underestimates their spread, and by enough that the plain interval over three seeds covers 75 % (it cannot reach
    beyond the smallest and the largest). With thousands of images the factor is 1. Hesterberg 2015, "What teachers
    should know about the bootstrap", arXiv:1411.5279. ``within`` are the values that are possible at all, where the
    interval ends at the latest. No interval, and the reason, for a single unit.
    """
    if n < 2:
        return Estimate(value, math.nan, math.nan, "one seed or image shows no noise, so there is no interval")
    tail = (1 - LEVEL) / 2
    widen = math.sqrt(n / (n - 1)) * float(scipy_stats.t.isf(tail, n - 1) / scipy_stats.norm.isf(tail))
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    low, high = value - (value - float(low)) * widen, value + (float(high) - value) * widen
    return Estimate(value, max(low, within[0]), min(high, within[1]))


def bootstrap_mean(
    values: ArrayLike,
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
    within: tuple[float, float] = ANYWHERE,
) -> Estimate:
    """Give the mean of ``values`` ``(n,)``, one an image or one a seed, with its bootstrap interval.

    One value gives an estimate without interval, and the reason. ``within`` are the values that are possible at all,
    (0, 1) for an accuracy: an interval over few seeds can reach beyond them, and is cut there.

    Raises:
        ValueError: no values, a NaN among them, or one that is not ``within``.
    """
    rows = rows_of(values)
    if not ((rows >= within[0]) & (rows <= within[1])).all():
        raise ValueError(f"expected values within {within}, got {rows.min():.4g} to {rows.max():.4g}")
    draws = resampled_means(rows, resamples, generator)[:, 0]
    return interval(float(rows.mean()), draws, len(rows), within)
