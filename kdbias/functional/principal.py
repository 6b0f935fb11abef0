"""The first principal components of tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_components(tokens: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """Give the first components ``(..., count)`` of tokens ``(..., D)``, and the shares of variance ``(count,)``.

    Both are fp64, computed from all tokens together after centring. The largest entry of each direction is positive,
    so that signs are reproducible. If D < count, the rest is 0.

    >>> line = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    >>> principal_components(line, 1)[0].flatten()
    tensor([-5.,  0.,  5.], dtype=torch.float64)
    """
    flat = tokens.double().flatten(0, -2)
    centred = flat - flat.mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    kept = min(count, flat.shape[1])
    first = directions.flip(1)[:, :kept]
    largest = first.gather(0, first.abs().argmax(0, keepdim=True))
    components = torch.zeros(len(flat), count, dtype=flat.dtype, device=flat.device)
    components[:, :kept] = centred @ (first * largest.sign())
    shares = torch.zeros(count, dtype=flat.dtype, device=flat.device)
    shares[:kept] = (variances.flip(0)[:kept] / variances.sum()).clamp(0, 1).nan_to_num(0.0)
    return components.view(*tokens.shape[:-1], count), shares
