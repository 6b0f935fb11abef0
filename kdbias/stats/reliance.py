"""How much a network loses while a cue is suppressed step by step: the area under its curve of losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import RESAMPLES, Estimate, Floats, interval, quotients, resampled_means, rows_of
from kdbias.stats.retained import nothing_to_retain
from kdbias.stats.significance import right_answers


def reliance_area(
    stress: ArrayLike,
    clean: ArrayLike,
    strengths: ArrayLike,
    classes: int,
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
) -> Estimate:
    """Give the mean height of 1 - retention from strength 0, where it is 0, to the last of ``strengths``.

    ``stress`` is ``(S, n)`` bool, whether the answer was right at each of the S ascending strengths, ``clean`` ``(n,)``
    on the same images, ``strengths`` ``(S,)`` above 0. Between strengths the curve is a straight line. 0: the cue is
    not needed; near 1: it is needed from the start. The interval is a bootstrap over images. Refused as `retention` is.

    >>> reliance_area(np.zeros((1, 1000)), np.arange(1000) < 990, [1.0], 1000).value.__round__(3)
    0.501

    Raises:
        ValueError: the shapes do not fit, or the strengths do not ascend from above 0.
    """
    answers, x = np.atleast_2d(np.asarray(stress)), np.asarray(strengths, dtype=np.float64)
    if x.shape != answers.shape[:1] or (np.diff(x, prepend=0.0) <= 0).any():
        raise ValueError(f"expected a strength, ascending above 0, for each of {len(answers)} rows, got {x.tolist()}")
    if reason := nothing_to_retain(clean, classes):
        return Estimate.refuse(reason)
    whole = right_answers(clean)[:, 0]
    kept = heights(x) @ np.vstack([whole, right_answers(*answers).T])
    rows = rows_of(kept, whole)
    draws = 1 - _retained(resampled_means(rows, resamples, generator), classes)
    return interval(float(1 - _retained(rows.mean(0)[None], classes)[0]), draws, len(rows))


def heights(strengths: Floats) -> Floats:
    """Give the weights ``(S + 1,)`` of the points at strength 0 and at ``strengths`` in the mean height of a line."""
    x = np.concatenate([[0.0], strengths])
    steps = np.diff(x) / x[-1]
    found: Floats = (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    return found


def _retained(means: Floats, classes: int) -> Floats:
    """Retention of the means ``(k, 2)`` of right answers under stress and on clean images."""
    above = means - 1 / classes
    return quotients(above[:, 0], above[:, 1])
