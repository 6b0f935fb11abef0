"""``stress=smooth``: texture is suppressed by a filter that keeps edges, or by one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from kdbias.config.build import builder
from kdbias.stress.stress_set import Image, StressSet, to_uint8

LARGE = 224  # px, at which Burgert et al. filter


@builder("stress")
@dataclass(frozen=True)
class Smooth(StressSet):
    """``filter=bilateral`` keeps edges; ``gaussian`` blurs them too.

    ``protocol=own`` filters the image as it is. ``burgert`` brings it to 224 px (bilinear), filters there with lengths
    in those pixels, and reduces the result by averaging. ``diameter`` (px), ``colour_sigma`` (of 0..255, on the sum of
    the channels' differences) and ``space_sigma`` (px) are those of the bilateral filter, ``sigma`` (px) and ``taps``
    of the Gaussian (null: as many as ±3 sigma hold). ``strength`` blends.

    Source: Tomasi and Manduchi 1998; Burgert et al. 2025, ``BilateralFilter`` and ``GaussianBlur``. Their strengths,
    zipped: (diameter, colour_sigma) (4, 50), (6, 80), ..., (14, 200) with space_sigma 75.

    Raises:
        ValueError: a parameter is out of range.
    """

    libraries: ClassVar[tuple[str, ...]] = ("scipy", "pillow")
    filter: Literal["bilateral", "gaussian"] = "bilateral"
    protocol: Literal["own", "burgert"] = "own"
    diameter: int = 5
    colour_sigma: float = 100.0
    space_sigma: float = 75.0
    sigma: float = 1.0
    taps: int | None = None

    def __post_init__(self) -> None:
        if self.taps is not None and (self.taps < 3 or self.taps % 2 == 0):
            raise ValueError(f"stress.smooth.taps: an odd number from 3 on, or null, got {self.taps}")

    @property
    def no_view(self) -> str:
        """Say that filtering at 224 px takes too long; empty for the image as it is."""
        return "" if self.protocol == "own" else "protocol: burgert filters at 224 px, too slowly: choose protocol: own"

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the filtered image."""
        if self.protocol == "own":
            return self._filtered(image)
        height, width = image.shape[:2]
        large = resized(image, (LARGE, LARGE), PIL.Image.Resampling.BILINEAR)
        return resized(self._filtered(large), (height, width), PIL.Image.Resampling.BOX)

    def _filtered(self, image: Image) -> Image:
        if self.filter == "bilateral":
            return bilateral(image, self.diameter, self.colour_sigma, self.space_sigma)
        return gaussian(image, self.sigma, self.taps)


def gaussian(image: Image, sigma: float, taps: int | None = None) -> Image:
    """Blur an image by a Gaussian of ``taps`` weights; the border is mirrored without its last pixel, as in OpenCV."""
    weights = taps_of(sigma, taps)
    values = image.astype(np.float64)
    for axis in (0, 1):
        values = correlate1d(values, weights, axis=axis, mode="mirror")
    return to_uint8(values)


def bilateral(image: Image, diameter: int, colour_sigma: float, space_sigma: float) -> Image:
    """Average each pixel with its neighbours in a disc, weighted by distance and by difference of colour.

    The difference is the sum over the channels, the disc has radius ``diameter // 2``, and the border is mirrored
    without its last pixel, all as in OpenCV.
    """
    radius = diameter // 2
    height, width = image.shape[:2]
    values = image.astype(np.float32)
    wide = np.pad(values, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    alike = likeness(colour_sigma, image.shape[2])
    total = np.zeros_like(values)
    weights: NDArray[np.float32] = np.zeros((height, width, 1), np.float32)
    for down, right, near in disc(radius, space_sigma):
        other = wide[radius + down : radius + down + height, radius + right : radius + right + width]
        apart = np.abs(other - values).sum(2).astype(np.int64)
        weight = (alike[apart] * near)[..., None]
        total += weight * other
        weights += weight
    return to_uint8(total / weights)


def taps_of(sigma: float, taps: int | None = None) -> NDArray[np.float64]:
    """Give the weights of a Gaussian, with sum 1; without ``taps`` as many as ±3 sigma hold."""
    half = max(1, round(3 * sigma)) if taps is None else taps // 2
    places = np.arange(-half, half + 1)
    weights: NDArray[np.float64] = np.exp(-(places**2) / (2 * sigma**2))
    weights /= weights.sum()
    return weights


def likeness(sigma: float, channels: int) -> NDArray[np.float32]:
    """Give a pixel's weight by its difference of colour, the sum over the channels: ``(256·C,)``."""
    differences = np.arange(256 * channels, dtype=np.float32)
    found: NDArray[np.float32] = np.exp(-(differences**2) / (2 * sigma**2)).astype(np.float32)
    return found


def disc(radius: int, sigma: float) -> Iterator[tuple[int, int, np.float32]]:
    """Give the places (down, right) within ``radius``, each with its weight by distance."""
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            squared = down * down + right * right
            if squared <= radius * radius:
                yield down, right, np.float32(np.exp(-squared / (2 * sigma**2)))


def resized(image: Image, size: tuple[int, int], how: PIL.Image.Resampling) -> Image:
    """Resize an image to ``(height, width)`` by Pillow; the channels stay."""
    shown = PIL.Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    made = np.array(shown.resize((size[1], size[0]), how))
    return made[..., None] if made.ndim == 2 else made
