"""Tokens resampled to another patch grid, so that those of two networks have the same positions."""

from __future__ import annotations

import torch
from torch import Tensor

Grid = tuple[int, int]


def resample_tokens(tokens: Tensor, grid: Grid, to: Grid) -> Tensor:
    """Resample tokens ``(B, N, D)`` of ``grid`` ``(h, w)``, N = h·w row-major, to ``(B, h'·w', D)`` of ``to``.

    Bilinear; if the grid shrinks, each output averages over the area that it covers, as torch's antialiased
    interpolation does. (That one is wrong on CPUs for grids one column wide.) Returns the same tensor if the grids are
    equal.

    Raises:
        ValueError: the tokens do not fill ``grid``.

    >>> tokens = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 4, 1)
    >>> resample_tokens(tokens, (2, 2), (1, 1)).flatten()
    tensor([3.5000])
    """
    if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"expected tokens (B, {grid[0] * grid[1]}, D) of the grid {grid}, got {tuple(tokens.shape)}")
    if grid == to:
        return tokens
    rows, columns = (_weights(a, b, tokens) for a, b in zip(grid, to, strict=True))
    placed = tokens.reshape(len(tokens), *grid, tokens.shape[2])
    return torch.einsum("yh,xw,bhwd->byxd", rows, columns, placed).flatten(1, 2)


def pool_maps(maps: Tensor, to: Grid) -> Tensor:
    """Average maps ``(B, C, h, w)`` over areas, to ``(B, C, h', w')`` of ``to``, as torch's adaptive average pooling.

    A new place covers the old ones from floor(i·h/h') to ceil((i+1)·h/h'), so areas overlap where h' does not divide h.
    As two products it gives the same bits on a GPU every time, which torch's own backward pass does not. Returns the
    same tensor if the grids are equal.

    Raises:
        ValueError: not ``(B, C, h, w)``, or ``to`` is larger along an axis.

    >>> pool_maps(torch.tensor([[[[0.0, 1.0], [4.0, 9.0]]]]), (1, 2))
    tensor([[[[2., 5.]]]])
    """
    if maps.ndim != 4 or not (1 <= to[0] <= maps.shape[2] and 1 <= to[1] <= maps.shape[3]):
        raise ValueError(f"expected maps (B, C, h, w) of at least {to[0]}x{to[1]} places, got {tuple(maps.shape)}")
    if tuple(maps.shape[2:]) == to:
        return maps
    rows, columns = (_areas(a, b, maps) for a, b in zip(maps.shape[2:], to, strict=True))
    return torch.einsum("yh,xw,bchw->bcyx", rows, columns, maps)


def _areas(count: int, to: int, like: Tensor) -> Tensor:
    """Give the weight ``(to, count)`` of each position in each new one: equal within its area, rows sum to 1."""
    places = torch.arange(count, device=like.device)
    new = torch.arange(to, device=like.device)[:, None]
    inside = (places >= new * count // to) & (places < -(-(new + 1) * count // to))
    return inside.to(like.dtype) / inside.sum(dim=1, keepdim=True)


def _weights(count: int, to: int, like: Tensor) -> Tensor:
    """Give the weight ``(to, count)`` of each position in each new one: triangles over neighbours, rows sum to 1."""
    step = count / to
    places = torch.arange(count, device=like.device, dtype=like.dtype)
    centres = (torch.arange(to, device=like.device, dtype=like.dtype) + 0.5) * step - 0.5
    weights = (1 - (places - centres[:, None]).abs() / max(step, 1.0)).clamp_min(0.0)
    return weights / weights.sum(dim=1, keepdim=True)
