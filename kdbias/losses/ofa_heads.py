"""The heads of OFA-KD: each maps the tokens of one student layer to class logits, in training only."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from kdbias.models.features import NetworkInfo

FINAL_SIDE = 7  # patch grids are merged down to about this side


def make_head(student: NetworkInfo, place: int, teacher_width: int, classes: int) -> nn.Module:
    """Make the head of the layer at ``place`` (a position in ``student.layers``); it takes (tokens, prefix, grid).

    Source: Hao et al., NeurIPS 2023, arXiv:2310.19444; linear layers start from a normal distribution of deviation
    0.02, convolutions from He's initialisation.
    """
    head: nn.Module
    if student.convolves and student.prefix == 0:  # maps; a hybrid's tokens keep their CLS token
        head = ConvHead(student, place, max(student.width, teacher_width), classes)
    else:
        head = BlockHead(student, place, classes)
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return head


class ConvHead(nn.Module):
    """For a CNN: separable convolutions of stride 2 down to the grid of the last layer, average pool, linear.

    It also serves a hybrid on maps. Each convolution doubles the width, except the last, which gives ``width``. A layer
    that already has the last grid gets a 1×1 convolution.
    Features are normalised over the batch, without running statistics.
    """

    def __init__(self, student: NetworkInfo, place: int, width: int, classes: int) -> None:
        super().__init__()
        layer = student.layers[place]
        halvings = round(math.log2(layer.grid[0] / student.layers[-1].grid[0]))
        widths = [layer.width * 2**i for i in range(halvings)] + [width]
        steps: list[nn.Module] = [_separable(a, b) for a, b in pairwise(widths)]
        self.convolutions = nn.Sequential(*(steps or [nn.Conv2d(layer.width, width, 1)]))
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor, prefix: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, N, D)`` to logits ``(B, C)``."""
        x = self.convolutions(tokens.mT.reshape(len(tokens), -1, *grid))
        return cast(Tensor, self.linear(x.mean(dim=(2, 3))))


class BlockHead(nn.Module):
    """For a vision transformer: 2×2 merging of large patch grids, transformer blocks, one token, linear.

    Three blocks follow an early layer, one follows each of the last two. The token is DIST, which the teacher trains,
    if there is one, else CLS, else the mean of all tokens.
    """

    def __init__(self, student: NetworkInfo, place: int, classes: int) -> None:
        super().__init__()
        layer, width = student.layers[place], student.width
        merges = _merges(layer.grid)
        widths = [layer.width, *[width] * merges]
        self.merge = nn.ModuleList(
            _Merge(a, b, active=i == 0 or i + 1 < merges) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.widen = nn.Identity() if widths[-1] == width else nn.Linear(widths[-1], width)
        after = len(student.layers) - 1 - place
        heads = math.gcd(width, 4)
        self.blocks = nn.Sequential(*(Block(width, num_heads=heads) for _ in range(min(max(after, 1), 3))))
        self.token = int(student.has_dist) if student.has_cls else None
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor, prefix: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, N, D)`` and prefix ``(B, P, D)`` to logits ``(B, C)``."""
        for merge in self.merge:
            tokens, grid = merge(tokens, grid), (grid[0] // 2, grid[1] // 2)
        tokens = self.widen(tokens)
        if self.token is None:
            return cast(Tensor, self.linear(self.blocks(tokens).mean(dim=1)))
        return cast(Tensor, self.linear(self.blocks(torch.cat([prefix, tokens], dim=1))[:, self.token]))


class _Merge(nn.Module):
    """Joins each 2×2 patches of a grid into one: LayerNorm, linear and, where ``active``, GELU."""

    def __init__(self, inputs: int, outputs: int, active: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * inputs)
        self.reduce = nn.Linear(4 * inputs, outputs, bias=False)
        self.act = nn.GELU() if active else nn.Identity()

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map ``(B, h·w, inputs)`` to ``(B, h·w/4, outputs)``."""
        patches = tokens.reshape(len(tokens), grid[0] // 2, 2, grid[1] // 2, 2, -1)
        joined = patches.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return cast(Tensor, self.act(self.reduce(self.norm(joined))))


def _merges(grid: tuple[int, int]) -> int:
    """Give how often a grid can be halved without falling below ``FINAL_SIDE``."""
    h, w = grid
    return 1 + _merges((h // 2, w // 2)) if min(h, w) >= 2 * FINAL_SIDE and h % 2 == w % 2 == 0 else 0


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """Two depthwise 3×3 convolutions, the first of stride 2, each followed by a 1×1 convolution, BN and ReLU."""
    layers: list[nn.Module] = []
    for stride, width in ((2, inputs), (1, outputs)):
        layers += [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width, track_running_stats=False),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
