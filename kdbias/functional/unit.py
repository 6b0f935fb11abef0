"""Directions of vectors, and their products: cosine similarities."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def unit(x: Tensor) -> Tensor:
    """Scale vectors ``(..., D)`` to length 1; one that is shorter than 1e-6 becomes 0, with a gradient of 0.

    Dividing by length + eps, or by max(length, eps), would give such a vector a gradient of 1/eps.
    """
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length <= EPS, 0.0, x / length.clamp_min(EPS))


def cosine_gram(x: Tensor) -> Tensor:
    """Give the cosine similarities ``(..., n, n)`` of vectors ``(..., n, D)``; those with a zero vector are 0."""
    direction = unit(x)
    return direction @ direction.mT
