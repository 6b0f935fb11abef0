"""Canny contours, equal to those of scikit-image and faster on many images of one size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOW, HIGH = 0.1, 0.2  # of the gradient's magnitude for images in [0, 1]
Floats = NDArray[np.float64]


def canny(image: NDArray[np.uint8], sigma: float) -> NDArray[np.bool_]:
    """Tell which pixels of a grey image ``(H, W)`` are contours, after smoothing by a Gaussian of ``sigma`` px.

    Source: Canny 1986, as ``skimage.feature.canny`` with its defaults. The border's weight is computed once a size, and
    only pixels above the lower threshold are compared with their neighbours.
    """
    smooth = ndimage.gaussian_filter(np.multiply(image, 1 / 255, dtype=np.float64), sigma, mode="constant")
    smooth /= _weight_inside(image.shape, sigma)
    down, across = _sobel(smooth)
    size = np.sqrt(down * down + across * across)
    rows, columns = _ridges(down, across, size)
    thin = np.zeros(image.shape, bool)
    thin[rows, columns] = True
    labels, count = ndimage.label(thin, np.ones((3, 3), bool))
    own = labels[rows, columns]
    strong = np.zeros(count + 1, bool)
    strong[own[size[rows, columns] >= HIGH]] = True
    thin[rows, columns] = strong[own]
    return thin


@lru_cache(maxsize=8)
def _weight_inside(shape: tuple[int, int], sigma: float) -> Floats:
    """The part of the Gaussian around each pixel that lies inside the image."""
    found: Floats = ndimage.gaussian_filter(np.ones(shape), sigma, mode="constant") + np.finfo(np.float64).eps
    return found


def _sobel(image: Floats) -> tuple[Floats, Floats]:
    """The gradient downwards and to the right, as ``scipy.ndimage.sobel``, in its order of additions."""
    wide = np.pad(image, 1, mode="edge")
    down, across = wide[2:] - wide[:-2], wide[:, 2:] - wide[:, :-2]
    return (
        2 * down[:, 1:-1] + (down[:, :-2] + down[:, 2:]),
        2 * across[1:-1] + (across[:-2] + across[2:]),
    )


def _ridges(down: Floats, across: Floats, size: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels, off the border, whose gradient is no smaller than at both sides, interpolated along its direction."""
    width = size.shape[1]
    place = np.flatnonzero(size[1:-1, 1:-1] >= LOW)
    flat = place + 2 * (place // max(width - 2, 1)) + width + 1
    y, x, values = down.ravel()[flat], across.ravel()[flat], size.ravel()
    tall, broad, same = np.abs(y), np.abs(x), (y >= 0) & (x >= 0) | (y <= 0) & (x <= 0)
    steep = tall > broad
    away = np.where(same, width, -width)  # to the row that the gradient's diagonal to the right leads to
    near, diagonal = np.where(steep, away, 1), away + 1
    weight = np.where(steep, broad, tall) / np.where(steep, tall, broad)
    rest, own = 1.0 - weight, values[flat]
    ahead = values[flat + diagonal] * weight + values[flat + near] * rest <= own
    behind = values[flat - diagonal] * weight + values[flat - near] * rest <= own
    chosen = flat[ahead & behind]
    return chosen // width, chosen % width
