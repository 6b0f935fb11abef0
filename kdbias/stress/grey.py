"""``stress=grey``: colour is taken away, or its channels change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbias.config.build import builder
from kdbias.stress.stress_set import Image, StressSet, to_uint8

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601), those of OpenCV and Pillow."""

ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""The orders of three channels that change something."""


@builder("stress")
@dataclass(frozen=True)
class Grey(StressSet):
    """``way=luminance`` blends with the image's luminance; ``permute`` gives the channels another order at random.

    The orders of ``permute`` are the five that change something. ``strength`` blends.

    Source: Burgert et al. 2025, ``ContinousGrayScale`` and ``ChannelShuffle`` (which also draws the order unchanged).

    Raises:
        ValueError: ``way`` is neither.
    """

    way: Literal["luminance", "permute"] = "luminance"

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image without its colours."""
        if self.way == "permute":
            return np.ascontiguousarray(image[..., ORDERS[int(rng.integers(len(ORDERS)))]])
        return np.repeat(luminance(image), 3, axis=2)

    def refuses(self, size: int, channels: int) -> str:
        """Say that grey images have no colour to take; empty for colour images."""
        return "" if channels == 3 else "stress.grey: the images have one channel, no colour: leave grey out"


def luminance(image: Image) -> Image:
    """Give the luminance of a colour image, ``(H, W, 1)`` uint8; a grey image stays."""
    return image if image.shape[2] == 1 else to_uint8(image @ LUMINANCE)[..., None]
