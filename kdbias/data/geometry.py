"""Where a picture's pixels come from: padded crop and horizontal flip in one gather, each picture with its own.

Parameters are drawn on the host as NumPy arrays, so that nothing waits for the device. For equal parameters the result
is torchvision's (v2 functional, on tensors), bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """Move host parameters to ``device`` without waiting for it."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def crop_flip(picture: Tensor, corner: NDArray[np.int64], flip: NDArray[np.bool_], padding: int) -> Tensor:
    """Pad each picture with black, cut its own size out again, and mirror those marked, left to right.

    ``picture`` is ``(B, C, H, W)``; ``corner`` ``(B, 2)`` is the cut's (top, left) in the picture padded by ``padding``
    pixels on each side, in 0..2 * padding; ``flip`` is ``(B,)``.
    """
    count, channels, height, width = picture.shape
    wide = width + 2 * padding
    y = corner[:, :1] + np.arange(height)
    x = corner[:, 1:] + np.where(flip[:, None], np.arange(width)[::-1], np.arange(width))
    rows, columns = put(y * wide, picture.device), put(x, picture.device)
    source = (rows[:, :, None] + columns[:, None, :]).view(count, 1, height * width)
    padded = F.pad(picture, [padding] * 4).flatten(2)
    return padded.gather(2, source.expand(-1, channels, -1)).view_as(picture)
