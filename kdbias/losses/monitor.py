"""Watches a trained projection of the teacher: it can satisfy a loss by making all tokens alike."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from kdbias.functional.precision import widest

EVERY = 25  # calls between two looks at the value, each look waits for the device


class CollapseMonitor(nn.Module):
    """Remembers the variance of projected tokens in the first step, and warns once when a later one is a small part.

    The first variance is a buffer, so that a resumed run compares with the same. It follows the contract of a term's
    state: ``forward`` reads it, ``row`` gives what the term leaves pending, and ``remember`` writes it from the rows of
    all processes.

    Args:
        name: what the warning calls the tokens.
        fraction: the projection counts as collapsed below this fraction of the first variance.
    """

    first: Tensor

    def __init__(self, name: str, fraction: float = 0.25) -> None:
        super().__init__()
        self.name, self.fraction = name, fraction
        self.register_buffer("first", torch.zeros(()))
        self._calls, self._warned = 0, False

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """Give the variance of ``tokens`` ``(B, N, D)`` over B and N, summed over D; unit vectors have 0 to 1."""
        variance = tokens.detach().flatten(0, 1).var(dim=0, correction=0).sum()
        if self._calls % EVERY == 0 and not self._warned:
            self._look(float(variance), float(self.first))  # 0 before the first step, of which nothing is a part
        self._calls += 1
        return variance

    @torch.no_grad()
    def row(self, tokens: Tensor) -> Tensor:
        """Give the mean token of each image and its mean square length, ``(B, D + 1)`` in fp64, where it is there."""
        tokens = widest(tokens.detach())
        return torch.cat([tokens.mean(1), tokens.square().sum(-1).mean(1, keepdim=True)], dim=1)

    @torch.no_grad()
    def remember(self, rows: Tensor) -> None:
        """Keep the variance of a step's images, by the rows of all of them, unless there is one of an earlier step."""
        mean = rows.mean(0)
        variance = (mean[-1] - mean[:-1].square().sum()).clamp(min=0).to(self.first.dtype)
        self.first.copy_(torch.where(self.first > 0, self.first, variance))

    def _look(self, variance: float, first: float) -> None:
        if variance < self.fraction * first:
            self._warned = True
            warnings.warn(
                f"{self.name} collapses: the variance of the teacher's projected tokens fell from {first:.3g} to "
                f"{variance:.3g}, so the loss falls without the student learning the teacher; set two_sided=false",
                stacklevel=2,
            )
