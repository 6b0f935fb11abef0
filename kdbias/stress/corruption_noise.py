"""The four noises of CIFAR-10-C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image, scaled

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, in units of [0, 1]
SHOT = (500, 250, 100, 75, 50)  # photons at full brightness
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of the values
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)  # standard deviation, in units of the value
Values = NDArray[np.floating]


def gaussian_noise(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Add noise of the same size everywhere."""
    x = image / 255
    return scaled(x + GAUSSIAN[severity - 1] * rng.normal(size=x.shape))


def shot_noise(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Count photons."""
    count = SHOT[severity - 1]
    return scaled(rng.poisson(image / 255 * count) / count)


def impulse_noise(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Set values to 0 or 255, each channel by itself."""
    hit, salt = rng.random(image.shape) < IMPULSE[severity - 1], rng.random(image.shape) < 0.5
    return np.where(hit, np.where(salt, 255.0, 0.0), image)


def speckle_noise(image: Image, severity: int, rng: np.random.Generator) -> Values:
    """Add noise in proportion to the value."""
    x = image / 255
    return scaled(x + x * SPECKLE[severity - 1] * rng.normal(size=x.shape))
