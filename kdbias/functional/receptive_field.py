"""How far the energy of an input gradient spreads."""

from __future__ import annotations

import torch
from torch import Tensor


def radial_energy(energy: Tensor, radii: Tensor) -> Tensor:
    """Give the share of the energy within each radius of its centre of gravity.

    ``energy`` ``(..., H, W)`` is not negative, ``radii`` ``(R,)`` in pixels; the result is ``(..., R)`` in 0..1, fp64.
    A map without energy gives 0.
    """
    distance, share = _by_pixel(energy)
    within = distance[..., None, :] <= radii.to(distance)[:, None] + 1e-6
    return (within * share[..., None, :]).sum(-1)


def energy_radius(energy: Tensor, share: float = 0.5) -> Tensor:
    """Give the smallest radius ``(...)`` in pixels, about its centre of gravity, that holds ``share`` of the energy.

    ``energy`` ``(..., H, W)`` is not negative. Distances are those of pixel centres, so that the radius of a single
    pixel is 0. NaN where there is no energy.

    >>> energy_radius(torch.ones(3, 3))
    tensor(1., dtype=torch.float64)
    """
    distance, part = _by_pixel(energy)
    distance, order = distance.sort(dim=-1, stable=True)
    held = part.gather(-1, order).cumsum(-1)
    first = (held >= share - 1e-9).int().argmax(-1, keepdim=True)
    radius = distance.gather(-1, first).squeeze(-1)
    return torch.where(part.sum(-1) > 0, radius, torch.nan)


def _by_pixel(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Give each pixel's distance from the centre of gravity and its share of the energy, both ``(..., H·W)``."""
    energy = energy.double()
    height, width = energy.shape[-2:]
    total = energy.sum((-2, -1), keepdim=True)
    share = torch.where(total > 0, energy / total, 0.0)
    rows = torch.arange(height, dtype=energy.dtype, device=energy.device)[:, None]
    columns = torch.arange(width, dtype=energy.dtype, device=energy.device)
    down = rows - (share * rows).sum((-2, -1), keepdim=True)
    right = columns - (share * columns).sum((-2, -1), keepdim=True)
    distance = (down.square() + right.square()).sqrt()
    return distance.expand_as(energy).flatten(-2).round(decimals=6), share.flatten(-2)
