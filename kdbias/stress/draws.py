"""Random numbers of many images at once, each image's a function of its own key."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kdbias.data.streams import STEP, mixed

Keys = NDArray[np.uint64]
"""One key an image, ``(B,)``, as ``kdbias.data.streams.image_keys`` gives them."""


def purpose(keys: Keys, name: str) -> Keys:
    """Give other keys for one purpose, so that two purposes draw different numbers."""
    with np.errstate(over="ignore"):
        return mixed(keys + np.uint64(crc32(name.encode())) * STEP)


def uniforms(keys: Keys, count: int) -> NDArray[np.float64]:
    """Give ``(B, count)`` numbers in [0, 1): row i is a function of key i alone, evenly distributed.

    They are the outputs of SplitMix64 that begins at the key (Steele et al., OOPSLA 2014), in all rows at once.
    """
    with np.errstate(over="ignore"):
        states = keys[:, None] + STEP * np.arange(1, count + 1, dtype=np.uint64)
    return (mixed(states) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(keys: Keys, count: int) -> NDArray[np.float64]:
    """Give ``(B, count)`` numbers of the standard normal distribution (Box and Muller 1958)."""
    half = (count + 1) // 2
    radius, angle = np.split(uniforms(keys, 2 * half), 2, axis=1)
    size = np.sqrt(-2 * np.log1p(-radius))
    return np.concatenate([size * np.cos(2 * np.pi * angle), size * np.sin(2 * np.pi * angle)], axis=1)[:, :count]
