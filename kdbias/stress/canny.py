"""Canny contours, equal to those of scikit-image and faster on many images of one size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOW, HIGH = 0.1, 0.2  # of the gradient's magnitude for images in [0, 1]
EIGHT = np.ones((3, 3), bool)  # neighbours of a pixel, itself included
Floats = NDArray[np.float64]


def canny(image: NDArray[np.uint8], sigma: float) -> NDArray[np.bool_]:
    """Tell which pixels of a grey image ``(H, W)`` are contours, after smoothing by a Gaussian of ``sigma`` px.

    Source: Canny 1986, as ``skimage.feature.canny`` with its defaults. The border's weight is computed once a size, and
    only pixels above the lower threshold are compared with their neighbours.
    """
    smooth = np.multiply(image, 1 / 255, dtype=np.float64)
    ndimage.gaussian_filter(smooth, sigma, mode="constant", output=smooth)
    smooth /= _weight_inside(image.shape, sigma)
    place, size = _ridges(*_sobel(smooth))
    thin = np.zeros(image.size, bool)
    thin[place] = True
    labels, count = ndimage.label(thin.reshape(image.shape), EIGHT)
    own = labels.ravel().take(place)
    strong = np.zeros(count + 1, bool)
    strong[own[size >= HIGH]] = True
    thin[place] = strong[own]
    return thin.reshape(image.shape)


@lru_cache(maxsize=8)
def _weight_inside(shape: tuple[int, int], sigma: float) -> Floats:
    """The part of the Gaussian around each pixel that lies inside the image."""
    found: Floats = ndimage.gaussian_filter(np.ones(shape), sigma, mode="constant") + np.finfo(np.float64).eps
    return found


def _sobel(image: Floats) -> tuple[Floats, Floats]:
    """The gradient downwards and to the right, as ``scipy.ndimage.sobel``, in its order of additions."""
    wide = _edged(image)
    step = wide[2:] - wide[:-2]
    down = step[:, :-2] + step[:, 2:]
    step *= 2
    down += step[:, 1:-1]
    step = wide[:, 2:] - wide[:, :-2]
    across = step[:-2] + step[2:]
    step *= 2
    across += step[1:-1]
    return down, across


def _edged(image: Floats) -> Floats:
    """The image with its outermost pixels once more around it, as ``np.pad`` gives it in three times the time."""
    wide = np.empty((image.shape[0] + 2, image.shape[1] + 2))
    wide[1:-1, 1:-1] = image
    wide[0, 1:-1], wide[-1, 1:-1] = image[0], image[-1]
    wide[:, 0], wide[:, -1] = wide[:, 1], wide[:, -2]
    return wide


def _ridges(down: Floats, across: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The pixels, off the border, whose gradient is no smaller than at both sides, interpolated along its direction.

    Gives their numbers and the size of their gradients; ``down`` and ``across`` are ``(H, W)``.
    """
    width = down.shape[1]
    size = down * down
    size += across * across
    np.sqrt(size, out=size)
    high = size >= LOW
    high[[0, -1]] = high[:, [0, -1]] = False
    place, sizes = np.flatnonzero(high), size.ravel()
    y, x, own = (values.take(place) for values in (down.ravel(), across.ravel(), sizes))
    tall, broad, same = np.abs(y), np.abs(x), (y >= 0) & (x >= 0) | (y <= 0) & (x <= 0)
    away = np.where(same, width, -width)  # to the row that the gradient's diagonal to the right leads to
    near, diagonal = np.where(tall > broad, away, 1), away + 1
    weight = np.minimum(tall, broad) / np.maximum(tall, broad)
    rest = 1.0 - weight
    ridge = _between(sizes, place + diagonal, place + near, weight, rest) <= own
    ridge &= _between(sizes, place - diagonal, place - near, weight, rest) <= own
    return place[ridge], own[ridge]


def _between(
    sizes: Floats, diagonal: NDArray[np.int64], near: NDArray[np.int64], weight: Floats, rest: Floats
) -> Floats:
    """The size of the gradient between two neighbours of each pixel."""
    found = sizes.take(diagonal)
    found *= weight
    other = sizes.take(near)
    other *= rest
    found += other
    return found
