"""The five blurs of CIFAR-10-C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, correlate1d, zoom
from skimage.filters import gaussian

from kdbias.stress.stress_set import Image, scaled, to_uint8

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # radius and smoothing of the disc, px
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))  # sigma, reach (px), rounds
MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius and sigma, px
ZOOM = (1.06, 1.11, 1.16, 1.21, 1.26)  # the largest factor, not included, in steps of .01 from 1 on
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1)  # sigma, px
Values = NDArray[np.floating]


def gaussian_blur(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Blur evenly."""
    return scaled(_blurred(image / 255, GAUSSIAN[severity - 1]))


def defocus_blur(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Blur by a disc."""
    kernel = disc(*DEFOCUS[severity - 1])
    made = [correlate(channel, kernel, mode="mirror") for channel in np.moveaxis(image / 255, 2, 0)]
    return scaled(np.stack(made, 2))


def disc(radius: float, smoothing: float) -> NDArray[np.float64]:
    """Give a disc of weights that sum to 1, smoothed by a Gaussian of three taps; 7 × 7 px hold the largest."""
    places = np.arange(-3, 4)
    kernel = (places**2 + places[:, None] ** 2 <= radius**2).astype(np.float64)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * smoothing**2))
    for axis in (0, 1):
        kernel = correlate1d(kernel, taps / taps.sum(), axis=axis, mode="constant")
    even: NDArray[np.float64] = kernel / kernel.sum()
    return even


def glass_blur(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Take each pixel from a neighbour, row by row from the lower right, between two blurs.

    The published code is written as a swap of two pixels; NumPy makes it a copy, and so it is one here.
    """
    sigma, reach, rounds = GLASS[severity - 1]
    x = (_blurred(image / 255, sigma) * 255).astype(np.uint8)
    height, width = x.shape[:2]
    places = list(range(height * width))
    for _ in range(rounds):
        rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
        moves = rng.integers(-reach, reach, size=(len(rows) * len(columns), 2))
        steps = (moves[:, 1] * width + moves[:, 0]).tolist()
        at = (row * width + column for row in rows for column in columns)
        for place, step in zip(at, steps, strict=True):
            places[place] = places[place + step]
    moved = x.reshape(height * width, -1)[places].reshape(x.shape)
    return scaled(_blurred(moved / 255, sigma))


def motion_blur(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Blur along a line at -45 to 45 degrees."""
    radius, sigma = MOTION[severity - 1]
    return moved(image, radius, sigma, rng.uniform(-45, 45)).astype(np.float64)


def moved(image: Image, radius: int, sigma: float, angle: float) -> Image:
    """Average pixels along a line from each pixel on, weighted by half a Gaussian, as ImageMagick's motion blur does.

    The line has 2·radius + 1 px at ``angle`` degrees; beyond the border the nearest pixel counts.
    """
    length = 2 * radius + 1
    steps = np.arange(length)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turned = np.deg2rad(angle)
    right, down = (np.ceil(steps * part - 0.5).astype(int) for part in (np.cos(turned), np.sin(turned)))
    height, width = image.shape[:2]
    rows, columns = np.arange(height)[:, None], np.arange(width)
    total = np.zeros(image.shape)
    for weight, x, y in zip(weights, right, down, strict=True):
        total += weight * image[np.clip(rows + y, 0, height - 1), np.clip(columns + x, 0, width - 1)]
    return to_uint8(total)


def zoom_blur(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Average the image with enlarged ones."""
    x = (image / 255).astype(np.float32)
    factors = np.arange(1, ZOOM[severity - 1], 0.01)
    total = np.zeros_like(x)
    for factor in factors:
        total += enlarged(x, float(factor))
    return scaled((x + total) / (len(factors) + 1))


def enlarged(values: Values, factor: float) -> Values:
    """Cut out the middle of a square ``(H, H, C)`` and enlarge it to the same size, bilinear."""
    side = values.shape[0]
    kept = int(np.ceil(side / factor))
    start = (side - kept) // 2
    large: Values = zoom(values[start : start + kept, start : start + kept], (factor, factor, 1), order=1)
    start = (large.shape[0] - side) // 2
    return large[start : start + side, start : start + side]


def _blurred(values: Values, sigma: float) -> Values:
    made: Values = gaussian(values, sigma=sigma, channel_axis=-1)
    return made
