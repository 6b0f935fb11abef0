"""Frost of CIFAR-10-C: photographs of frozen windows, which the package ``imagecorruptions`` ships."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image

FROST = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # weights of image and frost
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # the published code never draws a sixth
REDUCED = 5  # the published code scales them by .2, for images of 32 px


def frost(image: Image, severity: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add a random part of a random photograph of frost."""
    own, others = FROST[severity - 1]
    height, width = image.shape[:2]
    found = _photograph(FILES[int(rng.integers(len(FILES)))], max(height, width))
    top, left = (int(rng.integers(0, room)) for room in (found.shape[0] - height, found.shape[1] - width))
    return np.clip(own * image + others * found[top : top + height, left : left + width], 0, 255)


def folder() -> Path:
    """Give the folder of the photographs.

    Raises:
        ValueError: the package that ships them is not installed.
    """
    found = find_spec("imagecorruptions")
    if found is None or found.origin is None:
        raise ValueError(
            "stress.frost: its photographs come with imagecorruptions: pip install 'kdbias[frost]', or leave it out by "
            "~stress.frost"
        )
    return Path(found.origin).parent / "frost"


@cache
def _photograph(name: str, side: int) -> NDArray[np.uint8]:
    """Read one photograph, reduced for images of ``side`` px, and enlarged where it is too small for them."""
    image = PIL.Image.open(folder() / name).convert("RGB")
    step = max(1, REDUCED * 32 // side)
    small = np.asarray(image)[step // 2 :: step, step // 2 :: step]  # bilinear scaling by 1/5 reads these pixels
    if min(small.shape[:2]) > side:
        return small
    large = (side + 1) / min(image.size)
    return np.asarray(image.resize([int(np.ceil(large * length)) for length in image.size]))
