"""Which of two conflicting cues a network's decisions follow."""

from __future__ import annotations

import torch
from torch import Tensor


def shape_share(logits: Tensor, shape: Tensor, texture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the share of decisions for the shape among the decisions for either cue, on cue-conflict pictures.

    ``logits`` is ``(n, C)``; ``shape`` and ``texture`` are ``(n,)`` int64, the class that each cue speaks for. Returns
    the share, a scalar in [0, 1] (float64; NaN where no decision was for either cue), then two ``(n,)`` bool masks: the
    decision is one of the two; the decision is the shape's class. The ratio hides how often a decision was for either
    cue at all, so report the mean of the first mask beside it.

    Raises:
        ValueError: the shapes do not fit, or a picture's two cues agree.

    Source: Geirhos et al., ICLR 2019 (arXiv:1811.12231), shape bias.
    """
    if logits.ndim != 2 or not logits.shape[:1] == shape.shape == texture.shape:
        raise ValueError(
            "logits must be (n, classes), shape and texture (n,), "
            f"got {tuple(logits.shape)}, {tuple(shape.shape)}, {tuple(texture.shape)}"
        )
    if bool((shape == texture).any()):
        raise ValueError("the cues of every picture must conflict, but some have shape == texture")
    answer = logits.argmax(1)
    by_shape = answer == shape
    decided = by_shape | (answer == texture)
    return by_shape.sum(dtype=torch.float64) / decided.sum(), decided, by_shape
