"""Cutout and random erasing: a rectangle of each image is painted over.

Cutout: DeVries & Taylor, 2017, arXiv:1708.04552. Random erasing: Zhong et al., AAAI 2020, arXiv:1708.04896.
A box is (top, left, bottom, right) in pixels, bottom and right excluded; an empty box is all zeros.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdbias.data.geometry import rectangles

AREA = (0.02, 0.33)
ASPECT = (0.3, 3.3)
ATTEMPTS = 10


def draw_cutout(rng: np.random.Generator, count: int, size: int, side: int) -> NDArray[np.int64]:
    """Draw ``(count, 4)`` boxes of ``side`` pixels, centred anywhere in the image and clipped at its edges."""
    if side == 0:
        return np.zeros((count, 4), dtype=np.int64)
    top_left = rng.integers(0, size, (count, 2)) - side // 2
    return np.concatenate([top_left, top_left + side], axis=1).clip(0, size)


def draw_erasing(rng: np.random.Generator, count: int, size: int, probability: float) -> NDArray[np.int64]:
    """Draw ``(count, 4)`` boxes, each with ``probability`` not empty.

    Area 2-33 % of the image and aspect 0.3-3.3 (log-uniform), the first of ten attempts that fits, as torchvision's.
    """
    boxes = np.zeros((count, 4), dtype=np.int64)
    if probability == 0:
        return boxes
    chosen = rng.random(count) < probability
    area = size * size * rng.uniform(*AREA, (count, ATTEMPTS))[chosen]
    aspect = np.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), (count, ATTEMPTS))[chosen])
    sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=-1).round().astype(np.int64)
    fits = np.all(sides < size, axis=-1)
    side = sides[np.arange(len(sides)), fits.argmax(axis=1)]
    top_left = (rng.random((count, 2))[chosen] * (size - side + 1)).astype(np.int64)
    found = np.any(fits, axis=1)
    boxes[np.flatnonzero(chosen)[found]] = np.concatenate([top_left, top_left + side], axis=1)[found]
    return boxes


def erase(image: Tensor, boxes: NDArray[np.int64], fill: Tensor) -> Tensor:
    """Paint the box of each image with ``fill``, one uint8 value per channel.

    ``image`` is uint8 ``(B, C, H, W)`` and is not changed, ``boxes`` ``(B, 4)``, ``fill`` ``(C,)`` on its device.
    """
    if not boxes.any():
        return image
    top, left, bottom, right = boxes.T[:, :, None]
    y, x = np.arange(image.shape[-2]), np.arange(image.shape[-1])
    inside = rectangles((y >= top) & (y < bottom), (x >= left) & (x < right), image.device)
    return (image & ~inside) | (fill[:, None, None] & inside)
