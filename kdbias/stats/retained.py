"""What a network keeps of its accuracy under stress, with intervals that hold near 0 and 1 too."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import Estimate, Floats, pairs_of
from kdbias.stats.significance import above_chance, right_answers
from kdbias.stats.wilson import wilson

CHANCE_P = 0.01
Arms = tuple[float, float]


def retention(stress: ArrayLike, clean: ArrayLike, classes: int) -> Estimate:
    """Give the share of the accuracy above chance that is kept under stress: (acc - 1/C) / (clean - 1/C).

    ``stress`` and ``clean`` are ``(n,)`` bool: whether the answer was right on the stressed and on the clean version
    of the same images, in the same order. 1 keeps all, 0 is chance, below 0 is worse than chance. Refused if clean
    accuracy is not significantly above chance (one-sided binomial, p < .01).

    The interval over images joins Wilson's intervals of the two accuracies, with their correlation (MOVER: Zou and
    Donner 2008, doi 10.1002/sim.3095; for paired shares Newcombe 1998, method 10). A bootstrap covers too little where
    few answers are right: .74 of the time at an accuracy of .003 on 200 images.

    >>> stress, clean = np.arange(100) < 45, np.arange(100) < 80
    >>> found = retention(stress, clean, classes=10)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)  # (.45 - .1) / (.8 - .1)
    (0.5, 0.378, 0.625)
    """
    return _kept(stress, clean, classes, 1 / classes)


def ratio(stress: ArrayLike, clean: ArrayLike, classes: int) -> Estimate:
    """Give acc / clean, not corrected for chance (a network that guesses under stress keeps 1 / (C clean)).

    For comparison with older reports; ``stress`` and ``clean`` are ``(n,)`` bool, refusal is as for `retention`.

    >>> ratio(np.arange(100) < 45, np.arange(100) < 80, classes=10).value  # .45 / .8
    0.5625
    """
    return _kept(stress, clean, classes, 0.0)


def nothing_to_retain(clean: ArrayLike, classes: int) -> str:
    """Say that clean accuracy, ``clean`` ``(n,)`` bool, is not significantly above chance; empty if it is."""
    answers, p = right_answers(clean), above_chance(clean, classes)
    if p < CHANCE_P:
        return ""
    return (
        f"clean accuracy {answers.mean():.1%} of {len(answers)} images is not above chance ({1 / classes:.1%}; "
        f"p = {p:.2g}): there is nothing to retain"
    )


def retention_noise(
    stress: ArrayLike, clean: ArrayLike, other_stress: ArrayLike, other_clean: ArrayLike, classes: int
) -> float:
    """Give the standard deviation that the choice of images alone gives one seed's difference of two retentions.

    All four are right answers ``(seeds, n)`` of one network and another on the same images. It follows from the
    linearised quotients (delta method), as a mean over seeds, and serves as ``noise`` of `difference` over seeds.

    Raises:
        ValueError: the arrays are not of one shape ``(seeds, n)``, or the clean accuracy of a seed is chance.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (stress, clean, other_stress, other_clean)]
    if sides[0].ndim != 2 or len({side.shape for side in sides}) != 1:
        raise ValueError(f"expected right answers (seeds, n) of one shape, got {[side.shape for side in sides]}")
    each = _influence(sides[0], sides[1], classes) - _influence(sides[2], sides[3], classes)
    return float(each.std(axis=1).mean() / math.sqrt(each.shape[1]))


def quotient_by_image(above: ArrayLike, below: ArrayLike) -> Floats:
    """Give a number for each image, ``(n,)``, whose mean is the quotient of the sums of two arrays ``(n,)``.

    Each is the quotient and how far its image moves it (delta method). Two networks' quotients on the same images, such
    as shape shares or retentions, are then compared by `difference` with ``over="images"``.

    >>> quotient_by_image([1, 0, 1, 0], [1, 1, 1, 1]).mean()
    np.float64(0.5)

    Raises:
        ValueError: the arrays are not of one shape ``(n,)``, or ``below`` sums to 0.
    """
    parts = pairs_of(above, below)
    mean = parts.mean(axis=0)
    if mean[1] == 0:
        raise ValueError("below sums to 0: there is no quotient")
    value = mean[0] / mean[1]
    return np.asarray(value + (parts[:, 0] - value * parts[:, 1]) / mean[1], dtype=np.float64)


def _influence(stress: Floats, clean: Floats, classes: int) -> Floats:
    """How far each image ``(seeds, n)`` moves the retention, times n."""
    kept, whole = stress - 1 / classes, clean - 1 / classes
    means = whole.mean(axis=1, keepdims=True)
    if (means == 0).any():
        raise ValueError("clean accuracy is exactly chance: there is nothing to retain")
    return np.asarray((kept - kept.mean(axis=1, keepdims=True) / means * whole) / means, dtype=np.float64)


def _kept(stress: ArrayLike, clean: ArrayLike, classes: int, floor: float) -> Estimate:
    rows = right_answers(stress, clean)
    if reason := nothing_to_retain(clean, classes):
        return Estimate.refuse(reason)
    kept, whole = (float(mean) - floor for mean in rows.mean(axis=0))
    arms, clean_arms = _arms(rows[:, 0]), _arms(rows[:, 1])
    correlation = _correlation(rows)

    def outside(quotient: float, upper: bool) -> float:
        """Where kept - quotient whole ends, on the side that must not pass 0; it is 0 at an end of the interval."""
        one, other = (arms[1], clean_arms[0]) if upper else (arms[0], clean_arms[1])
        sign = 1.0
        if quotient < 0:  # then the second share enters with a plus, by its other arm
            other, sign = (clean_arms[1] if upper else clean_arms[0]), -1.0
        width = one**2 + (quotient * other) ** 2 - 2 * sign * correlation * one * abs(quotient) * other
        half = math.sqrt(max(width, 0.0))
        return kept - quotient * whole + (half if upper else -half)

    value = kept / whole
    low = _end(lambda q: outside(q, upper=False), value, -1.0)
    high = _end(lambda q: -outside(q, upper=True), value, 1.0)
    return Estimate(value, low, high)


def _end(inside: Callable[[float], float], value: float, side: float) -> float:
    """The end of the interval on one ``side`` (-1 or 1) of ``value``: where ``inside``, negative there, becomes 0."""
    step = 0.01
    while inside(value + side * step) < 0:
        step *= 2
        if step > 1e6:  # the clean accuracy could be chance
            return side * math.inf
    near, far = 0.0, step
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(value + side * middle) < 0 else (near, middle)
    return value + side * far


def _arms(right: Floats) -> Arms:
    """How far Wilson's interval of a share reaches below and above it."""
    count = int(right.sum())
    low, high = wilson(count, len(right))
    share = count / len(right)
    return share - low, high - share


def _correlation(rows: Floats) -> float:
    """The correlation of two columns of 0 and 1; 0 where one of them is constant."""
    one, other = rows.T
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 0 else 0.0
