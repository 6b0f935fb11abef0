"""The difference of two runs, networks or methods: its interval, its tests, and a verdict that says no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import RESAMPLES, Estimate, Floats, bootstrap_mean, pairs_of
from kdbias.stats.seeds import ROUNDING, seed_mean, standard_error
from kdbias.stats.significance import Alternative, holm, permutation_test

Over = Literal["seeds", "images"]

SHOWN_P = 0.05
PERMUTED_FROM = 6
"""The smallest number of seeds whose permutation test can give p < .05."""


@dataclass(frozen=True)
class Difference:
    """The mean of a - b with its 95 % interval, the p value of no difference, and a verdict.

    Attributes:
        estimate: the mean of a - b.
        p: of the paired t-test over seeds, of the paired permutation test over images; 1 if nothing can be tested.
        permutation: p of the permutation test beside the t-test, from six seeds on.
        smallest: the smallest effect that matters, in the unit of a and b; None if none was stated.
        equal_p: p of the two one-sided tests that the difference exceeds ``smallest``.
        larger_p: p of the test that the difference, of either sign, is at most ``smallest``: .05 where its 95 %
            interval begins there.
        corrected: ``p`` after Holm's correction over a family of comparisons; None outside of one.
        equal_corrected, larger_corrected: ``equal_p`` and ``larger_p`` after the same correction, each kind of test by
            itself.
    """

    estimate: Estimate
    p: float
    permutation: float | None = None
    smallest: float | None = None
    equal_p: float | None = None
    corrected: float | None = None
    equal_corrected: float | None = None
    larger_p: float | None = None
    larger_corrected: float | None = None

    @property
    def shown(self) -> bool:
        """Whether p, corrected where it belongs to a family, is below .05."""
        return (self.p if self.corrected is None else self.corrected) < SHOWN_P

    @property
    def equal(self) -> bool:
        """Whether the difference is shown to be smaller than ``smallest``."""
        p = self.equal_p if self.equal_corrected is None else self.equal_corrected
        return p is not None and p < SHOWN_P

    @property
    def larger(self) -> bool:
        """Whether the difference is shown to be larger than ``smallest``."""
        p = self.larger_p if self.larger_corrected is None else self.larger_corrected
        return p is not None and p < SHOWN_P

    @property
    def verdict(self) -> str:
        """Give ``higher``, ``lower``, ``equal`` (within ``smallest``), or ``no difference shown``."""
        if self.shown:
            return "higher" if self.estimate.value > 0 else "lower"
        return "equal" if self.equal else "no difference shown"


def difference(
    a: ArrayLike,
    b: ArrayLike,
    alternative: Alternative = "two-sided",
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
    *,
    over: Over = "seeds",
    noise: float = 0.0,
    smallest: float | None = None,
) -> Difference:
    """Compare ``a`` with ``b``, both ``(n,)`` and paired: by seed, or by image for two networks on the same images.

    * ``over="seeds"``: one score for each seed. The interval is Student's, p that of the paired t-test; the permutation
      test stands beside it from six seeds on.
    * ``over="images"``: one number for each image. The interval is the bootstrap's, p that of the permutation test.

    To compare several seeds on the same images, average first: over seeds for each image, or over images for each seed.
    ``smallest`` is the smallest difference that matters: with it a difference can be shown to be smaller, by two
    one-sided t-tests (Schuirmann 1987, doi 10.1007/BF01068419). ``noise`` is that of `seed_mean`.

    Raises:
        ValueError: as ``pairs_of``; or ``smallest`` <= 0.

    >>> found = difference([0.71, 0.72, 0.74, 0.73], [0.60, 0.62, 0.61, 0.63], smallest=0.2)
    >>> round(found.estimate.value, 3), round(found.p, 4), found.verdict, found.equal
    (0.11, 0.0006, 'higher', True)
    """
    if smallest is not None and not smallest > 0:
        raise ValueError(f"smallest: the smallest difference that matters must be above 0, got {smallest}")
    rows = pairs_of(a, b)
    each = rows[:, 0] - rows[:, 1]
    each = np.where(np.abs(each) <= ROUNDING * np.abs(rows).max(axis=1), 0.0, each)
    error = standard_error(each, noise)
    equal_p = None if smallest is None else _equivalence(float(each.mean()), error, len(each), smallest)
    larger_p = None if smallest is None else _larger(float(each.mean()), error, len(each), smallest)
    generator = np.random.default_rng(0) if generator is None else generator
    if over == "images":
        p = permutation_test(rows[:, 0], rows[:, 1], alternative, resamples, generator)
        return Difference(bootstrap_mean(each, resamples, generator), p, None, smallest, equal_p, larger_p=larger_p)
    permuted = None
    if len(each) >= PERMUTED_FROM:
        permuted = permutation_test(rows[:, 0], rows[:, 1], alternative, resamples, generator)
    p, found = _t_test(each, error, alternative), seed_mean(each, noise=noise)
    return Difference(found, p, permuted, smallest, equal_p, larger_p=larger_p)


def image_noise(one: ArrayLike, other: ArrayLike) -> float:
    """Give the standard deviation that the choice of images alone gives one seed's difference of accuracies.

    ``one`` and ``other`` are right answers ``(seeds, n)`` on the same images; it is the mean over seeds, and serves as
    ``noise`` of `difference` over seeds.

    Raises:
        ValueError: the arrays are not of one shape ``(seeds, n)``.

    >>> round(image_noise([[1, 0, 1, 1]], [[1, 1, 0, 1]]), 4)  # differences 0, -1, 1, 0: sqrt(1/2) / sqrt(4)
    0.3536
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (one, other))
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"expected right answers (seeds, n) of one shape, got {first.shape} and {second.shape}")
    return float((first - second).std(axis=1).mean() / math.sqrt(first.shape[1]))


def family(differences: Sequence[Difference]) -> list[Difference]:
    """Correct the p values of comparisons that are read together, such as the rows of a table's column (Holm 1979).

    >>> control = [0.60, 0.62, 0.61, 0.63]
    >>> kl, cka = difference([0.71, 0.72, 0.74, 0.73], control), difference([0.61, 0.61, 0.62, 0.62], control)
    >>> [one.verdict for one in family([kl, cka])]
    ['higher', 'no difference shown']
    """
    corrected, equal, larger = (
        _corrected([getattr(one, kind) for one in differences]) for kind in ("p", "equal_p", "larger_p")
    )
    return [
        replace(one, corrected=corrected[i], equal_corrected=equal[i], larger_corrected=larger[i])
        for i, one in enumerate(differences)
    ]


def _corrected(values: Sequence[float | None]) -> list[float | None]:
    """Correct the p values that are known over their own number (Holm); None stays."""
    known = [i for i, value in enumerate(values) if value is not None]
    found = dict(zip(known, holm([value for value in values if value is not None]), strict=True))
    return [float(found[i]) if i in found else None for i in range(len(values))]


def _t_test(each: Floats, error: float, alternative: Alternative) -> float:
    """P of the t-test that the mean of ``each`` ``(n,)`` is 0; 1 where there is no noise to compare it with."""
    if not error > 0:
        return 1.0
    t = float(each.mean()) / error
    if alternative == "two-sided":
        return float(2 * scipy.special.stdtr(len(each) - 1, -abs(t)))
    return float(scipy.special.stdtr(len(each) - 1, -t if alternative == "greater" else t))


def _equivalence(mean: float, error: float, n: int, smallest: float) -> float:
    """P of the two one-sided t-tests that the difference is not within ±``smallest``."""
    if not error > 0:
        return 1.0
    return float(scipy.special.stdtr(n - 1, (abs(mean) - smallest) / error)) if math.isfinite(error) else 1.0


def _larger(mean: float, error: float, n: int, smallest: float) -> float:
    """P of the test that the difference lies within ±``smallest``, twice that of the side on which it is found."""
    if not error > 0 or not math.isfinite(error):
        return 1.0
    return min(1.0, float(2 * scipy.special.stdtr(n - 1, -(abs(mean) - smallest) / error)))
