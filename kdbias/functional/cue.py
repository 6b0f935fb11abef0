"""Which of two conflicting cues a network's decisions follow."""

from __future__ import annotations

import torch
from torch import Tensor


def shape_share(logits: Tensor, shape: Tensor, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the share of decisions for the shape among the decisions for either cue, on cue-conflict images.

    ``logits`` is ``(n, C)``; ``shape`` and ``texture`` are ``(n,)`` int64, the class that each cue speaks for. Returns
    the share, a scalar in [0, 1] (float64; NaN where no decision was for either cue), then two ``(n,)`` bool masks: the
    decision is one of the two; the decision is the shape's class. The ratio hides how often a decision was for either
    cue, so report it together with the mean of the first mask.

    Raises:
        ValueError: the shapes do not fit, or an image's two cues agree.

    Source: Geirhos et al., ICLR 2019 (arXiv:1811.12231), shape bias.
    """
    if logits.ndim != 2 or not logits.shape[:1] == shape.shape == texture.shape:
        raise ValueError(
            "logits must be (n, classes), shape and texture (n,), "
            f"got {tuple(logits.shape)}, {tuple(shape.shape)}, {tuple(texture.shape)}"
        )
    decided, by_shape = decisions(logits.argmax(1), shape, texture)
    return by_shape.sum(dtype=torch.float64) / decided.sum(), decided, by_shape


def decisions(answer: Tensor, shape: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
    """Give whether each of the answers ``(n,)`` is for either cue, and whether it is for the shape: two ``(n,)`` bool.

    ``shape`` and ``texture`` are ``(n,)`` int64, the class that each cue speaks for.

    Raises:
        ValueError: the shapes do not fit, or an image's two cues agree.
    """
    if not answer.shape == shape.shape == texture.shape or answer.ndim != 1:
        raise ValueError(
            "answer, shape and texture must be (n,), "
            f"got {tuple(answer.shape)}, {tuple(shape.shape)}, {tuple(texture.shape)}"
        )
    if bool((shape == texture).any()):
        raise ValueError("the cues of every image must conflict, but some have shape == texture")
    by_shape = answer == shape
    return by_shape | (answer == texture), by_shape


def share_without_guesses(share: float, decided: float, classes: int) -> float:
    """Give the shape share without the decisions that guesses explain.

    ``share`` is that of ``shape_share`` and ``decided`` the share of images with a decision for either cue, over images
    whose pairs of classes are drawn uniformly. If a network guesses on some of them, uniformly among the ``classes``,
    it hits each cue as often as any third class: on (1 - decided) / (classes - 2) of all images. This share is
    subtracted from the decisions for the shape and from those for the texture. Without the correction, the share of a
    network that often guesses tends to 1/2, whatever its preference. If errors are not uniform guesses, the correction
    is too large, so read it together with the plain share. Noise can move it below 0 or above 1.

    Raises:
        ValueError: fewer than 3 classes, or ``decided`` is not above 2 / classes, which guesses alone give.

    Source: the correction for guessing of forced choices, Abbott 1925, doi 10.1093/jee/18.2.265a.
    """
    if classes < 3:
        raise ValueError(f"with {classes} classes there is no third class, which is needed to count guesses")
    if not decided > 2 / classes:
        raise ValueError(
            f"decided {decided:.3g} of the images for either cue, and guesses alone give {2 / classes:.3g}"
        )
    return (share * decided * (classes - 2) - (1 - decided)) / (decided * classes - 2)
