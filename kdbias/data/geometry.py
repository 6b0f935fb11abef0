"""Padded crop and horizontal flip, with a draw for each image.

Parameters are drawn on the host as NumPy arrays, so that nothing waits for the device. For equal parameters the result
is torchvision's (v2 functional, on tensors), bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """Move host parameters ``(...)`` to ``device`` without waiting for it."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def rectangles(rows: NDArray[np.bool_], columns: NDArray[np.bool_], device: torch.device) -> Tensor:
    """Give masks ``(B, 1, H, W)``, 255 where both the row ``(B, H)`` and the column ``(B, W)`` are marked, else 0.

    Bitwise operations on bytes are many times faster than ``torch.where`` on a CPU.
    """
    down, across = (put(marked.astype(np.uint8) * np.uint8(255), device) for marked in (rows, columns))
    return down[:, None, :, None] & across[:, None, None, :]


def crop_flip(image: Tensor, corner: NDArray[np.int64], flip: NDArray[np.bool_], padding: int) -> Tensor:
    """Pad each image with black, crop it to its own size, and mirror the marked images left to right.

    ``image`` is uint8 ``(B, C, H, W)``; ``corner`` ``(B, 2)`` is the cut's (top, left) in the image padded by
    ``padding`` pixels on each side, in 0..2 * padding; ``flip`` is ``(B,)``.
    """
    count, channels, height, width = image.shape
    down, left = (corner - padding).T
    right = np.where(flip, -left, left)  # columns of the image, in reverse order for a mirrored image
    mirrored = np.flatnonzero(flip)
    place = np.arange(count)
    place[mirrored] = count + np.arange(len(mirrored))
    # a shift of rows and columns is one of the pixels in a row: what it brings in from elsewhere is painted over
    blank = image.new_zeros(padding * (width + 1))
    turned = image.index_select(0, put(mirrored, image.device)).flip(3)
    bank = torch.cat([blank, image.flatten(), turned.flatten(), blank])
    length = channels * height * width
    start = put(len(blank) + place * length + down * width + right, image.device)
    cut = bank.as_strided((len(bank) - length + 1, length), (1, 1)).index_select(0, start).view_as(image)
    y, x = down[:, None] + np.arange(height), right[:, None] + np.arange(width)
    return cut.bitwise_and_(rectangles((y >= 0) & (y < height), (x >= 0) & (x < width), image.device))
