"""The scores of every table, each with its interval: accuracy, mean and spread, the transfer index.

A refused score is NaN with a reason. Functions that draw random numbers seed ``generator`` with 0 unless it is given,
so that a table is reproducible.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import (
    RESAMPLES,
    Estimate,
    Floats,
    bootstrap_mean,
    interval,
    quotients,
    resampled_means,
    rows_of,
)
from kdbias.stats.seeds import fieller, seed_mean
from kdbias.stats.significance import right_answers
from kdbias.stats.wilson import wilson

INDEX_SEEDS = 3
"""The fewest seeds that give a transfer index."""


def accuracy(right: ArrayLike) -> Estimate:
    """Give the share of right answers, ``right`` ``(n,)`` bool, with its Wilson score interval.

    On thousands of images it agrees with the bootstrap (`bootstrap_mean`). Unlike the bootstrap interval, it does not
    shrink to width 0 if all answers are right or all are wrong (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    >>> found = accuracy([True, True, True, False])
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.75, 0.301, 0.954)
    """
    answers = right_answers(right)
    count = int(answers.sum())
    low, high = wilson(count, len(answers))
    return Estimate(count / len(answers), low, high)


def bounded_mean(values: ArrayLike) -> Estimate:
    """Give the mean of ``values`` ``(n,)`` in [0, 1], one for each image, with its bootstrap interval.

    Where all are 0, or all are 1, it is Wilson's interval: resampling them would show no noise.

    >>> found = bounded_mean([1.0] * 20)
    >>> found.value, round(found.low, 3), found.high
    (1.0, 0.839, 1.0)
    """
    rows = rows_of(values)[:, 0]
    if rows.max() == 0 or rows.min() == 1:
        return accuracy(rows == 1)
    return bootstrap_mean(rows, within=(0, 1))


def mean_std(values: ArrayLike) -> tuple[float, float]:
    """Give mean and standard deviation (n - 1) of ``values`` ``(n,)`` over seeds; that of one value is NaN, not 0.

    >>> mean_std([1.0, 2.0, 3.0])
    (2.0, 1.0)
    """
    rows = rows_of(values)
    return float(rows.mean()), float(rows.std(ddof=1)) if len(rows) > 1 else math.nan


def _quotient(value: Floats, draws: Floats, n: int) -> Estimate:
    """Quotient of the first and the second of two means ``(2,)``, with draws ``(resamples, 2)``.

    A draw whose denominator is 0 or has the other sign is infinite, as in ``quotients``.
    """
    sign = math.copysign(1.0, value[1])
    return interval(float(value[0] / value[1]), quotients(draws[:, 0] * sign, draws[:, 1] * sign), n)


def transfer_index(student: ArrayLike, control: ArrayLike, teacher: ArrayLike) -> Estimate:
    """Give (student - control) / (teacher - control) of the mean scores: 0 is the control, 1 the teacher.

    Each is ``(seeds,)``, paired by seed. A single teacher for all seeds is ``(1,)`` or a number; the interval then
    excludes the noise of the teacher. The control is the same student and recipe without a teacher. The teacher's score
    may be above or below the control's. The interval is Fieller's (`fieller`).

    Refused in three cases. The interval of teacher - control contains 0, so there is nothing to transfer, and Fieller's
    interval has no bounds. There are fewer than three seeds: Student's t of two leaves an index nearly without bounds
    (`transfer_index_images` gives an interval over images instead). A score is NaN, as a refused score is.

    Raises:
        ValueError: student and control are not of one length, or the teacher's is neither that nor 1.

    >>> found = transfer_index(student=[0.62, 0.60, 0.64], control=[0.50, 0.48, 0.52], teacher=0.7)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)  # .12 of .20
    (0.6, 0.481, 0.798)
    >>> transfer_index([0.62], [0.50], 0.7).reason
    '1 seed shows too little noise to compare teacher - control with; at least 3 are needed'
    """
    runs, control_runs = np.atleast_1d(np.asarray(student, float)), np.atleast_1d(np.asarray(control, float))
    teachers = np.atleast_1d(np.asarray(teacher, float))
    teachers = np.repeat(teachers, len(runs)) if teachers.shape == (1,) else teachers
    named = {"student": runs, "control": control_runs, "teacher": teachers}
    shapes = [array.shape for array in named.values()]
    if runs.ndim != 1 or len(set(shapes)) != 1:
        raise ValueError(f"expected one score for each seed, got shapes {shapes}")
    missing = [name for name, array in named.items() if not np.isfinite(array).all()]
    if missing:
        return Estimate.refuse(f"no score for some seeds of: {', '.join(missing)}")
    if len(runs) < INDEX_SEEDS:
        return Estimate.refuse(
            f"{len(runs)} seed{'s show' if len(runs) > 1 else ' shows'} too little noise to compare teacher - control "
            f"with; at least {INDEX_SEEDS} are needed"
        )
    found = fieller(runs - control_runs, teachers - control_runs)
    if not found.reason and not math.isfinite(found.low):
        return _nothing(seed_mean(teachers - control_runs), len(runs), "seeds")
    return found


def transfer_index_images(
    student: ArrayLike,
    control: ArrayLike,
    teacher: ArrayLike,
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
) -> Estimate:
    """Give the transfer index of one network each, with an interval over **images** that excludes seed noise.

    So it describes these three networks, not the recipe; with several seeds use `transfer_index`. An array is ``(n,)``,
    one score per image, and its mean is the network's score. Or it is ``(n, 2)``, a numerator and a denominator per
    image, and the quotient of their sums is the score: for the shape share on conflict images, (decided for shape,
    decided for shape or texture). All three arrays are on the same images in the same order.

    Refused if the interval of teacher - control contains 0, or if a network's denominator is 0, also in a resample (it
    decides for neither cue).

    >>> student, control, teacher = (np.arange(100) < right for right in (70, 50, 90))
    >>> round(transfer_index_images(student, control, teacher).value, 3)  # (.7 - .5) / (.9 - .5)
    0.5
    """
    scores = {"student": np.asarray(student), "control": np.asarray(control), "teacher": np.asarray(teacher)}
    for name, score in scores.items():
        if score.shape[1:] not in ((), (2,)):
            raise ValueError(f"expected scores (n,) or (n, 2), got {score.shape} for the {name}")
    pairs = [s if s.ndim == 2 else np.column_stack([s, np.ones(len(s))]) for s in scores.values()]
    rows = rows_of(*pairs)
    means = np.vstack([rows.mean(axis=0), resampled_means(rows, resamples, generator)])
    empty = [name for name, below in zip(scores, means[:, 1::2].T, strict=True) if (below == 0).any()]
    if empty:
        return Estimate.refuse(f"too few images count for: {', '.join(empty)} (its denominator is 0)")
    student_, control_, teacher_ = (means[:, ::2] / means[:, 1::2]).T
    both = np.column_stack([student_ - control_, teacher_ - control_])
    return _index(both[0], both[1:], len(rows), "images")


def _index(value: Floats, draws: Floats, n: int, unit: str) -> Estimate:
    gap = interval(float(value[1]), draws[:, 1], n)
    if gap.holds(0.0):
        return _nothing(gap, n, unit)
    return _quotient(value, draws, n)


def _nothing(gap: Estimate, n: int, unit: str) -> Estimate:
    return Estimate.refuse(
        f"teacher - control is {gap.value:.3g} [{gap.low:.3g}, {gap.high:.3g}] over {n} {unit}, "
        "inside its own noise: there is nothing to transfer"
    )
