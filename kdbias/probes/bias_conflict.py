"""Which cue decides on conflict images: the shape share, the part decided at all, and the share without guesses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kdbias import stats
from kdbias.functional.cue import decisions, share_without_guesses
from kdbias.stats import Estimate
from kdbias.stats.bootstrap import RESAMPLES, interval, resampled_means


def conflict(
    answer: npt.NDArray[np.int64], shape: npt.NDArray[np.int64], texture: npt.NDArray[np.int64], classes: int
) -> tuple[dict[str, Estimate], dict[str, npt.NDArray[np.bool_]]]:
    """Give ``shape_share``, ``decided`` and ``share_without_guesses``, and the masks ``decided`` and ``by_shape``.

    All arrays are ``(n,)``: the answers and the classes of both cues, which differ.

    Raises:
        ValueError: the cues of an image agree.
    """
    masks = [mask.numpy() for mask in decisions(*map(torch.from_numpy, (answer, shape, texture)))]
    decided, by_shape = masks
    if decided.any():
        share = stats.accuracy(by_shape[decided])
    else:
        share = Estimate.refuse(f"no answer to {len(answer)} conflict images is for either cue")
    found = {
        "shape_share": share,
        "decided": stats.accuracy(decided),
        "share_without_guesses": without_guesses(by_shape, decided, classes),
    }
    return found, {"decided": decided, "by_shape": by_shape}


def without_guesses(
    by_shape: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_], classes: int, resamples: int = RESAMPLES
) -> Estimate:
    """Give ``share_without_guesses`` with its bootstrap interval over images.

    Refused if there is no third class, or if the interval of ``decided`` reaches what guesses alone give.
    """
    if classes < 3:
        return Estimate.refuse(f"with {classes} classes there is no third class, which is needed to count guesses")
    part, guessed = stats.accuracy(decided), 2 / classes
    if part.low <= guessed:
        return Estimate.refuse(
            f"{part.value:.1%} [{part.low:.1%}, {part.high:.1%}] of the answers to conflict images are for either cue, "
            f"and guesses alone give {guessed:.1%}"
        )
    value = share_without_guesses(float(by_shape.sum() / decided.sum()), part.value, classes)
    for_shape, either = resampled_means(np.column_stack([by_shape, decided]).astype(np.float64), resamples).T
    above = either > guessed
    quotient = (for_shape * (classes - 2) - (1 - either)) / np.where(above, either * classes - 2, 1.0)
    return interval(value, quotient[above], len(decided))
