"""``stress=noise``: Gaussian noise in one window of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdbias.config.build import builder
from kdbias.stress.stress_set import Image, StressSet, to_uint8


@builder("stress")
@dataclass(frozen=True)
class Noise(StressSet):
    """Gaussian noise with standard deviation ``sigma`` (in units of [0, 1]) inside a ``window`` × ``window`` square.

    ``pattern`` is ``fixed`` (the same for every image, drawn from ``pattern_seed``) or ``per_image``. ``place`` is
    ``centre`` or ``random`` (drawn with the pattern). ``window`` null is the whole image. ``strength`` scales sigma.

    Raises:
        ValueError: a parameter is out of range.
    """

    window: int | None = 11
    sigma: float = 0.5
    pattern: Literal["fixed", "per_image"] = "fixed"
    place: Literal["centre", "random"] = "centre"
    pattern_seed: int = 0

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with the noise at its full sigma."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Add the noise to the window and clip; pixels outside stay as they are."""
        rows, columns, noise = self.fixed(image.shape) if self.pattern == "fixed" else self._drawn(image.shape, rng)
        changed = image.copy()
        changed[rows, columns] = to_uint8(image[rows, columns] + 255 * strength * self.sigma * noise)
        return changed

    def fixed(self, shape: tuple[int, ...]) -> tuple[slice, slice, NDArray[np.float64]]:
        """Give the window's rows and columns, and the noise in it, that all images ``shape`` ``(H, W, C)`` share."""
        return self._drawn(shape, np.random.default_rng([self.pattern_seed, *shape]))

    def _drawn(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice, NDArray[np.float64]]:
        rows, columns = (self._span(side, rng) for side in shape[:2])
        size = (rows.stop - rows.start, columns.stop - columns.start, shape[2])
        return rows, columns, rng.normal(size=size)

    def _span(self, side: int, rng: np.random.Generator) -> slice:
        length = side if self.window is None else self.window
        start = (side - length) // 2 if self.place == "centre" else int(rng.integers(0, side - length + 1))
        return slice(start, start + length)

    def refuses(self, size: int, channels: int) -> str:
        """Say that the window is larger than the images; empty if it is not."""
        if self.window is None or self.window <= size:
            return ""
        return f"stress.noise.window: {self.window} px is more than the images' {size}: at most {size}, or null for all"
