"""``stress=superpixel``: each segment of the image gets one colour, so that only the coarse layout is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from kdbias.config.build import builder
from kdbias.stress.stress_set import Image, StressSet, to_uint8


@builder("stress")
@dataclass(frozen=True)
class Superpixel(StressSet):
    """SLIC superpixels (Achanta et al. 2012, by scikit-image), each filled with its mean colour.

    ``segments`` is how many are asked for, ``compactness`` weighs nearness against colour, ``iterations`` are
    those of its k-means. ``strength`` blends.

    Raises:
        ValueError: a parameter is not positive.
    """

    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy")
    segments: int = 100
    compactness: float = 10.0
    iterations: int = 10

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image of mean colours."""
        grey = image.shape[2] == 1  # by a colour's lightness: SLIC's compactness is one of CIELAB
        given = np.repeat(image, 3, 2) if grey else image
        found = slic(given, self.segments, self.compactness, max_num_iter=self.iterations, start_label=0)
        return mean_colours(image, found)


def mean_colours(image: Image, segments: NDArray[np.int64]) -> Image:
    """Fill each segment of ``segments`` ``(H, W)``, whole numbers from 0 on, with its mean colour."""
    flat = segments.ravel()
    count = np.maximum(np.bincount(flat), 1)
    sums = [np.bincount(flat, channel.ravel().astype(np.float64)) for channel in np.moveaxis(image, 2, 0)]
    filled: Image = to_uint8(np.stack(sums, 1) / count[:, None])[segments]
    return filled
