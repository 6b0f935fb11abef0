"""Estimates and differences as text, with as many decimals as tell the ends of their interval apart, and from 0."""

from __future__ import annotations

import math

from kdbias.stats import Difference, Estimate

MOST = 6  # decimals


def format_estimate(estimate: Estimate, scale: float = 1.0, digits: int = 3) -> str:
    """Write ``90.1 [89.5, 90.6]``; ``90.1`` without an interval; ``-`` if it is refused (without the reason).

    It has more digits than ``digits`` where the ends of the interval would read the same, or one of them as 0.
    """
    digits = _telling(estimate, scale, digits)
    value, low, high = (f"{x * scale:.{digits}f}" for x in (estimate.value, estimate.low, estimate.high))
    if estimate.refused:
        return "-"
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def format_difference(difference: Difference, scale: float = 1.0, digits: int = 3) -> str:
    """Write ``+1.2 [+0.3, +2.1]`` where a difference is shown, else the verdict with the interval.

    The verdict is ``no difference shown``, or ``equal within ±0.5`` where that is shown. Digits are as for estimates.
    """
    estimate = difference.estimate
    wanted, digits = digits, _telling(estimate, scale, digits)
    value, low, high = (f"{x * scale:+.{digits}f}" for x in (estimate.value, estimate.low, estimate.high))
    if difference.shown:
        return f"{value} [{low}, {high}]"
    verdict = difference.verdict
    if verdict == "equal" and difference.smallest is not None:
        verdict = f"equal within ±{difference.smallest * scale:.{wanted}f}"
    return verdict if math.isnan(estimate.low) else f"{verdict} [{low}, {high}]"


def _telling(estimate: Estimate, scale: float, digits: int) -> int:
    """The decimals, at least ``digits``, with which the ends of an interval differ, and none but a 0 reads as 0.

    It is ``digits`` where ``MOST`` decimals would not do.
    """
    low, high = estimate.low * scale, estimate.high * scale
    for count in range(digits, MOST + 1) if low < high else ():
        ends = [float(f"{end:.{count}f}") for end in (low, high)]
        if ends[0] != ends[1] and all(read or not end for read, end in zip(ends, (low, high), strict=True)):
            return count
    return digits
