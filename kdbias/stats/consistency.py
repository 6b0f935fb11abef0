"""Error consistency of two networks, with an interval over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.bootstrap import RESAMPLES, Estimate, Floats, interval, resampled_means
from kdbias.stats.significance import right_answers


def error_consistency(
    right: ArrayLike, other: ArrayLike, resamples: int = RESAMPLES, generator: np.random.Generator | None = None
) -> Estimate:
    """Give Cohen's kappa of the correctness of two networks, (observed - expected) / (1 - expected) agreement.

    ``right`` and ``other`` are ``(n,)`` bool on the same images; the value is `kdbias.functional.error_consistency`.
    Refused if both are always right or both always wrong: then agreement says nothing beyond the accuracies. Resamples
    of that kind are left out of the bootstrap.

    Source: Geirhos, Meding and Wichmann, NeurIPS 2020 (2006.16736).
    """
    answers = right_answers(right, other)
    rows = np.column_stack([answers, answers[:, 0] == answers[:, 1]])
    value = float(_kappa(rows.mean(0)[None])[0])
    if not np.isfinite(value):
        both = "right" if answers[0, 0] else "wrong"
        return Estimate.refuse(
            f"both networks are {both} on all {len(rows)} images: their accuracies alone explain that they agree"
        )
    draws = _kappa(resampled_means(rows, resamples, generator))
    return interval(value, draws[np.isfinite(draws)], len(rows), within=(-1.0, 1.0))


def _kappa(means: Floats) -> Floats:
    """Kappa of the means ``(k, 3)`` of both networks' right answers and of their agreement; NaN where it is 0 / 0."""
    p, q, observed = means.T
    expected = p * q + (1 - p) * (1 - q)
    beyond = 1 - expected
    defined = beyond > 1e-12
    found: Floats = np.where(defined, (observed - expected) / np.where(defined, beyond, 1.0), np.nan)
    return found
