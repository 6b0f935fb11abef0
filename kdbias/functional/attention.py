"""Measures of attention maps: how far they look, how directed they are, how widely the CLS token reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from kdbias.functional.precision import full_precision, without_autocast

PIECE = 2**18
"""Numbers of a map that a CPU processes at a time, so that intermediate results stay in its cache."""


class AttentionStatistics(NamedTuple):
    """Measures of attention maps, each ``(B, H)``; the last two need a CLS token and are None without one."""

    distance: Tensor
    entropy: Tensor
    cls_dispersion: Tensor | None
    cls_self: Tensor | None


def attention_statistics(attention: Tensor, grid: tuple[int, int], prefix: int = 1) -> AttentionStatistics:
    """Give ``attention_distance``, ``attention_entropy``, ``cls_dispersion`` and what CLS gives to itself, together.

    ``attention`` is ``(B, H, P+N, P+N)``, each of the four ``(B, H)`` in fp32 or fp64: patches, nats, patches² and a
    part of 1; without prefix tokens the last two are None. Errors are those of ``attention_distance``.
    On a CPU no tensor of the size of the maps is allocated.
    """
    _check(attention, prefix, grid)
    with without_autocast(attention):
        pieces = torch.split(attention, len(attention) if attention.is_cuda else max(1, PIECE // attention[0].numel()))
        sums = [_distance_sums(piece, grid, prefix) for piece in pieces]
        mass, distance = (torch.cat(parts) for parts in zip(*sums, strict=True))
        _check_mass(mass)
        entropy = torch.cat([_entropy_sums(piece, prefix) for piece in pieces])
        means = (distance / mass).mean(dim=-1), _entropy(entropy, mass)
        if prefix == 0:
            return AttentionStatistics(*means, None, None)
        (cls,) = full_precision(attention[:, :, 0])
        return AttentionStatistics(*means, _dispersion(cls[..., prefix:], grid), cls[..., 0])


def attention_distance(attention: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """Give the mean distance between a query and what it attends to, ``(B, H)``, in patches.

    ``attention`` is ``(B, H, P+N, P+N)``, rows are queries and sum to 1, ``grid`` is (h, w) with N = h*w row-major,
    ``prefix`` is P. Rows and columns of prefix tokens are left out and rows are renormalised; the distance of a patch
    to itself (0) counts. A value near ``uniform_attention_distance`` means undirected attention, not "global".

    Raises:
        ValueError: a shape that does not fit ``grid`` and ``prefix``, or a row without any attention to patches.

    Source: Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; Raghu et al., NeurIPS 2021, arXiv:2108.08810.

    >>> attention_distance(torch.full((1, 1, 5, 5), 0.2), grid=(2, 2))  # (0 + 1 + 1 + sqrt 2) / 4
    tensor([[0.8536]])
    """
    _check(attention, prefix, grid)
    with without_autocast(attention):
        mass, distance = _distance_sums(attention, grid, prefix)
        _check_mass(mass)
        return (distance / mass).mean(dim=-1)


def uniform_attention_distance(grid: tuple[int, int]) -> float:
    """Give the attention distance of uniform attention on a grid (h, w), in patches: the reference line of every plot.

    >>> round(uniform_attention_distance((8, 8)), 3), round(uniform_attention_distance((14, 14)), 3)
    (4.136, 7.281)
    """
    return _grid_distance(grid, torch.empty(0, dtype=torch.float64)).mean().item()


def attention_entropy(attention: Tensor, prefix: int = 1) -> Tensor:
    """Give the mean over queries of the entropy of each row, ``(B, H)``, in nats, from 0 to ln N.

    ``attention`` is ``(B, H, P+N, P+N)``; prefix rows and columns are left out and rows renormalised. It is not the
    entropy of the mean row, which is high even for sharp attention if every query attends to another patch.

    Raises:
        ValueError: not square in its last two axes, no patches beside the prefix, or a row without attention to
            patches.

    >>> attention_entropy(torch.full((1, 1, 5, 5), 0.2))  # ln 4
    tensor([[1.3863]])
    """
    _check(attention, prefix)
    with without_autocast(attention):
        (rows,) = full_precision(attention[..., prefix:, prefix:])
        mass = rows.sum(dim=-1)
        _check_mass(mass)
        return _entropy(_entropy_sums(attention, prefix), mass)


def cls_dispersion(attention: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """Give how widely the CLS token reads the image, ``(B, H)``, in patches²: var_x + var_y of its row over the grid.

    ``attention`` is ``(B, H, P+N, P+N)``, the CLS token its first row. 0 for a single patch, 10.5 for uniform on 8×8.

    Raises:
        ValueError: ``prefix`` is 0 (there is no CLS token), or shapes as for ``attention_distance``.

    >>> cls_dispersion(torch.full((1, 1, 65, 65), 1 / 65), grid=(8, 8))  # 2 (8² - 1) / 12
    tensor([[10.5000]])
    """
    if prefix < 1:
        raise ValueError(f"cls_dispersion reads the row of the CLS token: prefix must be >= 1, got {prefix}")
    _check(attention, prefix, grid)
    with without_autocast(attention):
        (row,) = full_precision(attention[..., 0, prefix:])
        return _dispersion(row, grid)


def _distance_sums(attention: Tensor, grid: tuple[int, int], prefix: int) -> tuple[Tensor, Tensor]:
    """Give Σ_j A_ij and Σ_j A_ij |p_i - p_j| over the patches j for each patch i, each ``(B, H, N)``."""
    (attention,) = full_precision(attention)
    distance = pad(_grid_distance(grid, attention), (prefix, 0, prefix, 0))
    sums = (attention @ _patches(attention, prefix), (attention * distance).sum(dim=-1))
    return sums[0][..., prefix:], sums[1][..., prefix:]


def _entropy_sums(attention: Tensor, prefix: int) -> Tensor:
    """Give Σ_j A_ij ln A_ij over the patches j for each patch i, ``(B, H, N)``."""
    (attention,) = full_precision(attention)
    logarithm = attention.clamp_min(torch.finfo(attention.dtype).tiny).log()
    return ((logarithm * attention) @ _patches(attention, prefix))[..., prefix:]


def _patches(attention: Tensor, prefix: int) -> Tensor:
    """Give ``(P+N,)``, 1 for a patch: a product with it is a sum over patches, and reads whole rows of the map."""
    return pad(attention.new_ones(attention.shape[-1] - prefix), (prefix, 0))


def _entropy(sums: Tensor, mass: Tensor) -> Tensor:
    """Give the mean entropy of the rows p = A/m: -Σ p ln p = ln m - Σ A ln A / m."""
    return (mass.log() - sums / mass).clamp_min(0.0).mean(dim=-1)


def _dispersion(row: Tensor, grid: tuple[int, int]) -> Tensor:
    mass = row.sum(dim=-1, keepdim=True)
    _check_mass(mass)
    row = row / mass
    positions = _positions(grid, row)
    mean = row @ positions
    # Squared deviations instead of a difference of moments: no cancellation, so never negative.
    deviation = (positions - mean[..., None, :]).square().sum(dim=-1)
    return (row * deviation).sum(dim=-1)


def _check(attention: Tensor, prefix: int, grid: tuple[int, int] | None = None) -> None:
    patches = attention.shape[-1] - prefix
    if attention.ndim != 4 or attention.shape[-1] != attention.shape[-2] or patches < 1 or prefix < 0:
        raise ValueError(f"expected attention (B, H, P+N, P+N) with P = {prefix}, N >= 1, got {tuple(attention.shape)}")
    if grid is not None and patches != grid[0] * grid[1]:
        raise ValueError(
            f"expected {prefix} prefix tokens and {grid[0]}x{grid[1]} = {grid[0] * grid[1]} patches, "
            f"got {attention.shape[-1]} tokens"
        )


def _check_mass(mass: Tensor) -> None:
    if not bool((mass > 0).all()):
        empty = int((~(mass > 0)).sum())
        raise ValueError(f"{empty} of {mass.numel()} rows give no attention to patches (or NaN): they have no distance")


def _positions(grid: tuple[int, int], like: Tensor) -> Tensor:
    """Give ``(N, 2)``: row and column of each patch."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in grid]
    return torch.cartesian_prod(*axes)


def _grid_distance(grid: tuple[int, int], like: Tensor) -> Tensor:
    """Give ``(N, N)``: the Euclidean distance between patches."""
    positions = _positions(grid, like)
    return (positions[:, None] - positions).square().sum(dim=-1).sqrt()
