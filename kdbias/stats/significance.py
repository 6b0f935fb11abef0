"""Tests of significance: against chance, between paired runs, and over the many metrics of a table."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import PATTERNS, RESAMPLES, Floats, pairs_of, rows_of

Alternative = Literal["two-sided", "greater", "less"]


def right_answers(*answers: ArrayLike) -> Floats:
    """Stack arrays ``(n,)`` of right (True, 1) and wrong (False, 0) answers on the same images to ``(n, k)`` float64.

    Raises:
        ValueError: the arrays are empty or of unlike length, or hold anything else.
    """
    rows = rows_of(*answers)
    if rows.shape[1] != len(answers) or not np.isin(rows, (0.0, 1.0)).all():
        raise ValueError("expected one bool (or 0/1) for each image: whether the answer was right")
    return rows


def above_chance(right: ArrayLike, classes: int) -> float:
    """Give the p value of the one-sided binomial test of ``right`` against guessing among ``classes``.

    ``right`` is ``(n,)`` bool.

    Raises:
        ValueError: fewer than two classes, or ``right`` is no array of right and wrong.

    >>> round(above_chance([True, True, True], classes=10), 4)  # .1³
    0.001
    """
    if classes < 2:
        raise ValueError(f"expected at least 2 classes, got {classes}")
    answers = right_answers(right)
    return float(scipy.stats.binom.sf(answers.sum() - 1, len(answers), 1 / classes))


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    alternative: Alternative = "two-sided",
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
) -> float:
    """Give the p value of the paired permutation test that ``a`` and ``b`` ``(n,)`` have the same mean.

    Under the null hypothesis the difference of each pair has either sign with equal probability. If there are at most
    ``resamples`` sign patterns, all ``2**n`` are tried (exact). Else ``resamples`` of them are drawn with ``generator``
    (seeded with 0 unless given), and the observed pattern is added to them (Phipson and Smyth 2010, doi
    10.2202/1544-6115.1585). ``greater`` tests the alternative that ``a`` is greater. The smallest p of n pairs is
    ``2**-n`` (two-sided: twice that, .25 for three seeds).

    >>> permutation_test([1, 2, 3], [0, 0, 0])  # 2 of 8 sign patterns
    0.25
    """
    rows = pairs_of(a, b)
    difference = rows[:, 0] - rows[:, 1]
    n = len(difference)
    exact = 2**n <= resamples
    sums = _all_signed_sums(difference) if exact else _drawn_signed_sums(np.abs(difference), resamples, generator)
    observed = float(difference.sum())
    if alternative == "two-sided":
        sums, observed = np.abs(sums), abs(observed)
    elif alternative == "less":
        sums, observed = -sums, -observed
    rounding = 1e-12 * float(np.abs(difference).sum())
    extreme = int((sums >= observed - rounding).sum())
    return extreme / 2**n if exact else (extreme + 1) / (resamples + 1)


def _all_signed_sums(difference: Floats) -> Floats:
    sums = np.zeros(1)
    for each in difference:
        sums = np.concatenate([sums + each, sums - each])
    return sums


def _drawn_signed_sums(sizes: Floats, resamples: int, generator: np.random.Generator | None) -> Floats:
    """Sums of ``sizes`` with random signs; for few distinct sizes the number of plus signs of each is binomial."""
    generator = np.random.default_rng(0) if generator is None else generator
    distinct, counts = np.unique(sizes, return_counts=True)
    if len(distinct) <= PATTERNS:
        plus = generator.binomial(counts, 0.5, size=(resamples, len(counts)))
        return np.asarray((2 * plus - counts) @ distinct, dtype=np.float64)
    sums = np.empty(resamples)
    for i in range(resamples):
        bits = np.unpackbits(np.frombuffer(generator.bytes((len(sizes) + 7) // 8), np.uint8), count=len(sizes))
        sums[i] = 2 * float(bits @ sizes)
    return sums - float(sizes.sum())


def holm(p_values: ArrayLike) -> Floats:
    """Give the p values ``(m,)`` corrected for being m tests, in the order given (Holm 1979, step-down).

    Raises:
        ValueError: a p value outside [0, 1], or NaN.

    >>> holm([0.01, 0.04, 0.03])  # 3 · .01, then 2 · .03, and no smaller one after it
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected p values (m,) in [0, 1], got {p}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
