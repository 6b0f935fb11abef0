"""Rotation and translation with a draw for each image: nearest neighbour, black outside, as torchvision's default."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdbias.data.geometry import put


def draw_affine(
    rng: np.random.Generator, count: int, size: int, rotate: float, translate: float
) -> NDArray[np.float64]:
    """Draw ``(count, 3)``: an angle in ±``rotate`` degrees and a (right, down) shift in whole pixels.

    The shift lies in ±``translate`` times ``size``, rounded.
    """
    if rotate == translate == 0:
        return np.zeros((count, 3))
    unit = rng.uniform(-1, 1, (count, 3))
    return np.concatenate([unit[:, :1] * rotate, (unit[:, 1:] * translate * size).round()], axis=1)


def rotate_shift(image: Tensor, motion: NDArray[np.float64]) -> Tensor:
    """Rotate uint8 images ``(B, C, H, W)`` about their centres, clockwise, then shift them.

    ``motion`` is ``(B, 3)``: angle in degrees, shift to the right and down in pixels.
    """
    height, width = image.shape[-2:]
    angle, right, down = np.deg2rad(motion[:, 0]), motion[:, 1], motion[:, 2]
    cos, sin = np.cos(angle), np.sin(angle)
    # from a pixel of the result back to its source: shift back, then rotate back
    back = np.stack([cos, sin, -cos * right - sin * down, -sin, cos, sin * right - cos * down], axis=1)
    half = np.array([[width / 2], [height / 2]])
    theta = put((back.reshape(-1, 2, 3) / half).astype(np.float32), image.device)[..., None, None]
    y = torch.arange(height, device=image.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=image.device) - (width - 1) / 2
    # element by element, because the rounding of a matrix product may depend on the batch size
    grid = (theta[:, :, 0] * x + theta[:, :, 1] * y + theta[:, :, 2]).movedim(1, -1)
    moved = F.grid_sample(image.to(torch.float32), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.to(torch.uint8)
