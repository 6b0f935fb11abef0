"""What CAPD adds to a convolutional student: queries, keys and values, and tokens as wide as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError
from kdbias.functional.capd import group_count, groupwise
from kdbias.functional.grid import Grid
from kdbias.models.features import Extractor, Layer

Projector = Literal["conv", "linear"]


class AttentionProjector(nn.Module):
    """Make queries, keys and values of a map: ``(B, N, D)`` on ``grid`` to ``(3, B, H, N, d)``, as a teacher's are.

    ``conv`` is a 3×3 convolution for each of the three, as in the paper; ``linear`` one Linear without bias, as in the
    official code.

    Raises:
        ArgumentError: an unknown ``kind``.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, section 3.1.
    """

    def __init__(self, width: int, grid: Grid, heads: int, head_width: int, kind: Projector = "conv") -> None:
        super().__init__()
        if kind not in get_args(Projector):
            raise ArgumentError("projector", f"must be one of {', '.join(get_args(Projector))}, got {kind!r}")
        self.grid, self.heads, self.head_width = grid, heads, head_width
        outputs = 3 * heads * head_width
        self.convolves = kind == "conv"
        self.layer = (
            nn.Conv2d(width, outputs, 3, padding=1) if self.convolves else nn.Linear(width, outputs, bias=False)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Give q, k and v, ``(3, B, H, N, d)``, of tokens ``(B, N, D)``."""
        if self.convolves:
            placed = tokens.transpose(1, 2).reshape(len(tokens), -1, *self.grid)
            out: Tensor = self.layer(placed).flatten(2).transpose(1, 2)
        else:
            out = self.layer(tokens)
        return out.reshape(len(out), out.shape[1], 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)


class GroupwiseProjector(nn.Module):
    """Project tokens ``(B, N, D)`` on ``grid`` to ``(B, N, E)``; each square of ``group`` × ``group`` has its own map.

    Each map begins as torch's Linear does. ``dropout`` is the share of the result that is left out in training.

    Raises:
        ArgumentError: ``group`` < 1, or ``dropout`` outside [0, 1).

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, equation 5.
    """

    def __init__(self, width: int, to: int, grid: Grid, group: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if type(group) is not int or group < 1:
            raise ArgumentError("group", f"must be at least 1 position, got {group!r}")
        if not 0 <= dropout < 1:
            raise ArgumentError("dropout", f"must lie in [0, 1), got {dropout!r}")
        self.grid, self.group, self.dropout = grid, group, dropout
        count, bound = group_count(grid, group), 1 / sqrt(width)
        self.weight = nn.Parameter(torch.empty(count, to, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, to).uniform_(-bound, bound))

    def forward(self, tokens: Tensor) -> Tensor:
        """Give tokens ``(B, N, E)`` of tokens ``(B, N, D)``, in fp32."""
        return F.dropout(groupwise(tokens, self.weight, self.bias, self.grid, self.group), self.dropout, self.training)


def stage(layers: Sequence[Layer], grid: Grid, layer: int | Literal["nearest"]) -> int:
    """Give the number of the student's layer that is compared: the one asked for, or the one nearest to ``grid``.

    ``nearest`` compares numbers of positions by their ratio; of equally near layers it takes the deepest.

    Raises:
        ArgumentError: there is no such layer.
    """
    if layer == "nearest":
        away = [abs(log(one.grid[0] * one.grid[1] / (grid[0] * grid[1]))) for one in layers]
        return max(range(len(layers)), key=lambda i: (-away[i], i))
    if type(layer) is not int or not 0 <= layer < len(layers):
        valid = ", ".join(f"{i} ({one.name}, {one.grid[0]}x{one.grid[1]})" for i, one in enumerate(layers))
        raise ArgumentError("layer", f"must be nearest or one of the student's layers, {valid}; got {layer!r}")
    return layer


def attention_shape(extractor: Extractor) -> tuple[int, int]:
    """Give the heads and the width of a head in the last layer that a vision transformer's extractor reads."""
    network: Any = extractor.network
    attention = network.blocks[extractor.survey.indices[extractor.layers[-1]]].attn
    return attention.num_heads, attention.qkv.out_features // (3 * attention.num_heads)
