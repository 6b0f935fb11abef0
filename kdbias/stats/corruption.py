"""How often a network errs on corrupted images, by itself and beside a reference network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import Estimate, Floats
from kdbias.stats.scores import bounded_mean
from kdbias.stats.seeds import t_quantile


def mean_error(wrong: ArrayLike) -> Estimate:
    """Give the mean error of ``wrong`` ``(..., n)``, over severities or corruptions too, with its interval over images.

    ``wrong`` is bool; the last axis is that of the images.

    Raises:
        ValueError: there are no images.
    """
    errors = np.asarray(wrong, dtype=np.float64)
    return bounded_mean(errors.reshape(-1, errors.shape[-1]).mean(0))


def mean_corruption_error(wrong: ArrayLike, reference: ArrayLike, names: list[str]) -> Estimate:
    """Give mCE: the mean over corruptions of the errors of a network divided by those of a reference network.

    ``wrong`` and ``reference`` are ``(K, S, n)`` bool for K corruptions ``names`` at S severities of the same n images.
    For each corruption the errors of all severities are summed before the division. The interval over images is that of
    the linearised mean of quotients (delta method). Refused if the reference makes no error under a corruption.

    Source: Hendrycks and Dietterich 2019 (1903.12261), whose reference is AlexNet on ImageNet.

    Raises:
        ValueError: the shapes do not fit.
    """
    own, other = _summed(wrong, reference, names)
    return _mean_quotient(own, other, names)


def relative_corruption_error(
    wrong: ArrayLike, clean: ArrayLike, reference: ArrayLike, reference_clean: ArrayLike, names: list[str]
) -> Estimate:
    """Give the relative mCE: as `mean_corruption_error`, of what corruption adds to the error on clean images.

    ``clean`` and ``reference_clean`` are ``(n,)`` bool: errors on the clean images. Refused if a corruption adds
    nothing to the errors of the reference.

    Source: Hendrycks and Dietterich 2019, equation of the relative mCE.

    Raises:
        ValueError: the shapes do not fit.
    """
    own, other = _summed(wrong, reference, names)
    severities = np.asarray(wrong).shape[1]
    own = own - severities * np.asarray(clean, np.float64)
    other = other - severities * np.asarray(reference_clean, np.float64)
    return _mean_quotient(own, other, names)


def _summed(wrong: ArrayLike, reference: ArrayLike, names: list[str]) -> tuple[Floats, Floats]:
    """Errors summed over severities, each ``(K, n)``."""
    own, other = np.asarray(wrong, np.float64), np.asarray(reference, np.float64)
    if own.ndim != 3 or own.shape != other.shape or len(own) != len(names):
        raise ValueError(
            f"expected errors ({len(names)}, severities, images) of both networks, got {own.shape} and {other.shape}"
        )
    return own.sum(1), other.sum(1)


def _mean_quotient(own: Floats, other: Floats, names: list[str]) -> Estimate:
    """The mean over rows of the quotient of two sums over images."""
    above, below = own.mean(1), other.mean(1)
    if (below <= 0).any():
        none = ", ".join(name for name, found in zip(names, below, strict=True) if found <= 0)
        return Estimate.refuse(f"the reference network loses nothing under {none}: there is nothing to divide by")
    quotients = above / below
    parts = ((own - quotients[:, None] * other) / below[:, None]).mean(0)
    value, n = float(quotients.mean()), len(parts)
    if n < 2:
        return Estimate(value, math.nan, math.nan, "one image shows no noise, so there is no interval")
    half = t_quantile(n) * float(parts.std(ddof=1)) / math.sqrt(n)
    if half == 0 and not np.ptp(own, axis=1).any():
        reason = "all images gave the same, which shows no noise: there is no interval"
        return Estimate(value, math.nan, math.nan, reason)
    return Estimate(value, value - half, value + half)
