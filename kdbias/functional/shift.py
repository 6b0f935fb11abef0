"""Images moved by whole pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Padding = Literal["reflect", "circular"]


def shift_images(images: Tensor, down: Tensor, right: Tensor, padding: Padding = "reflect") -> Tensor:
    """Move each of ``images`` ``(B, C, H, W)`` by whole pixels, ``down`` and ``right`` ``(B,)`` int64, negative too.

    The edge is filled with the mirrored image (``reflect``, the edge itself appears once) or with its other side
    (``circular``).

    Raises:
        ValueError: a shift is as large as the image.

    >>> row = torch.arange(4.0).view(1, 1, 1, 4)
    >>> shift_images(row, torch.tensor([0]), torch.tensor([2])).flatten()
    tensor([2., 1., 0., 1.])
    >>> shift_images(row, torch.tensor([0]), torch.tensor([2]), "circular").flatten()
    tensor([2., 3., 0., 1.])
    """
    batch, _, height, width = images.shape
    rows = _sources(height, down.to(images.device), padding)
    columns = _sources(width, right.to(images.device), padding)
    places = torch.arange(batch, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[places, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _sources(size: int, shift: Tensor, padding: Padding) -> Tensor:
    """Give, for each image, the source position ``(B, size)`` of each new position."""
    if bool((shift.abs() >= size).any()):
        raise ValueError(f"a shift by {int(shift.abs().max())} pixels is too much for a side of {size} pixels")
    places = torch.arange(size, device=shift.device) - shift[:, None]
    if padding == "circular" or size == 1:
        return places % size
    folded = places.abs()
    return torch.where(folded < size, folded, 2 * (size - 1) - folded)
