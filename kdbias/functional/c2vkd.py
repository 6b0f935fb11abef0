"""The graph of an image's tokens: their covariances over channels."""

from __future__ import annotations

from torch import Tensor

from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.unit import unit


def token_graph(tokens: Tensor) -> Tensor:
    """Give the self-covariance X Xᵀ / (D - 1) ``(B, N, N)``; rows of X are tokens of length 1, centred over channels.

    ``tokens`` is ``(B, N, D)``, D >= 2. The graph is invariant to the length of every token, but not to a rotation of
    the channels, because the mean over channels is taken in their own axes. Its diagonal is at most 1 / (D - 1), so
    graphs of two widths differ in scale: project one side first. A token of length 0, or with equal channels, has
    covariance 0 with all; the first also gets no gradient. ``tokens.flatten(0, 1)[None]`` gives the graph over the
    whole batch, as in the official code.

    Raises:
        ValueError: not ``(B, N, D)`` with D >= 2.

    Source: Zheng et al., 2023, arXiv:2310.07265.

    >>> import torch
    >>> token_graph(torch.tensor([[[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]]]))
    tensor([[[ 0.5000, -0.5000,  0.0000],
             [-0.5000,  0.5000,  0.0000],
             [ 0.0000,  0.0000,  0.0000]]])
    """
    if tokens.ndim != 3 or tokens.shape[2] < 2:
        raise ValueError(f"expected tokens (B, N, D) with D >= 2, got {tuple(tokens.shape)}")
    with without_autocast(tokens):
        (tokens,) = full_precision(tokens)
        direction = unit(tokens)
        centred = direction - direction.mean(dim=2, keepdim=True)
        return centred @ centred.mT / (tokens.shape[2] - 1)
