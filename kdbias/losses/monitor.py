"""Watches a trained projection of the teacher: it can satisfy a loss by making all tokens alike."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

EVERY = 25  # calls between two looks at the value, each look waits for the device


class CollapseMonitor(nn.Module):
    """Remembers the first variance of projected tokens, and warns once when a later one is a small part of it.

    The first variance is a buffer, so that a resumed run compares with the same.

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
        self.first.copy_(torch.where(self.first > 0, self.first, variance))
        if self._calls % EVERY == 0 and not self._warned:
            self._look(float(variance), float(self.first))
        self._calls += 1
        return variance

    def _look(self, variance: float, first: float) -> None:
        if variance < self.fraction * first:
            self._warned = True
            warnings.warn(
                f"{self.name} collapses: the variance of the teacher's projected tokens fell from {first:.3g} to "
                f"{variance:.3g}, so the loss falls without the student learning the teacher; set two_sided=false",
                stacklevel=2,
            )
