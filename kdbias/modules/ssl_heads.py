"""Heads that only training without labels has: SimCLR's projector and DINO's prototypes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def projector(width: int, hidden: int, dim: int) -> nn.Sequential:
    """Build Linear-BN-ReLU-Linear-BN from ``width`` by ``hidden`` to ``dim``.

    Source: Chen et al., NeurIPS 2020, arXiv:2006.10029, of two layers.
    """
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, dim, bias=False),
        nn.BatchNorm1d(dim),
    )


class Prototypes(nn.Module):
    """DINO's head: three linear layers to a bottleneck of length 1, then cosines with ``prototypes`` directions.

    BatchNorm after the two hidden layers (the official ``use_bn_in_head``); the directions are normalised weights
    (``norm_last_layer``).

    Source: Caron et al., ICCV 2021, arXiv:2104.14294, appendix.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (width, hidden):
            layers += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.directions = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.kaiming_uniform_(self.directions, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(B, width)`` to scores ``(B, prototypes)`` in [-1, 1]."""
        return F.linear(F.normalize(self.mlp(x), dim=-1), F.normalize(self.directions, dim=-1))
