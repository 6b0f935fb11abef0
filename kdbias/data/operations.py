"""The operations that AutoAugment, RandAugment and TrivialAugment draw from, and how strong each of them is.

A magnitude is one of a few evenly spaced values, counted from 0. AutoAugment (Cubuk et al., CVPR 2019,
arXiv:1805.09501) has 10 of them, RandAugment (Cubuk et al., NeurIPS 2020, arXiv:1909.13719) and TrivialAugment
(Müller & Hutter, ICCV 2021, arXiv:2103.10158) 31, the latter over a wider range. The values are torchvision's (v2).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

import torch

Operation = Literal[
    "Identity", "Invert", "Posterize", "Solarize", "Brightness", "Contrast", "AutoContrast", "Equalize",
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Color", "Sharpness",
]  # fmt: skip


class Kind(IntEnum):
    """How an operation is computed: operations of one kind run together, whatever their magnitudes."""

    NONE = 0
    FIXED = 1  # a table of 256 values, independent of the image
    AUTO_CONTRAST = 2  # a table for each channel of each image
    EQUALIZE = 3  # the same, from its histogram
    GEOMETRY = 4  # a pixel comes from another place
    CONTRAST = 5  # blended with its mean grey
    COLOUR = 6  # blended with its grey
    SHARPNESS = 7  # blended with its neighbourhood


KINDS: dict[Operation, Kind] = {
    "Identity": Kind.NONE,
    "Invert": Kind.FIXED,
    "Posterize": Kind.FIXED,
    "Solarize": Kind.FIXED,
    "Brightness": Kind.FIXED,
    "Contrast": Kind.CONTRAST,
    "AutoContrast": Kind.AUTO_CONTRAST,
    "Equalize": Kind.EQUALIZE,
    "ShearX": Kind.GEOMETRY,
    "ShearY": Kind.GEOMETRY,
    "TranslateX": Kind.GEOMETRY,
    "TranslateY": Kind.GEOMETRY,
    "Rotate": Kind.GEOMETRY,
    "Color": Kind.COLOUR,
    "Sharpness": Kind.SHARPNESS,
}
PLAIN: frozenset[Operation] = frozenset({"Identity", "Invert", "AutoContrast", "Equalize"})  # have no magnitude
UNSIGNED: frozenset[Operation] = PLAIN | {"Posterize", "Solarize"}


class Action(NamedTuple):
    """An operation at one magnitude: its number ``level``, 0 where there is none, and its ``sign``, 1 or -1."""

    operation: Operation
    level: int
    sign: int

    @property
    def kind(self) -> Kind:
        """How it is computed."""
        return KINDS[self.operation]


class Scale(NamedTuple):
    """The largest magnitudes and the number of ``levels`` from none (0) to them.

    ``shear`` is a tangent; ``translate`` a fraction of the side, or pixels if ``pixels`` is set; ``rotate`` degrees;
    ``enhance`` the fraction added to or taken from brightness, colour, contrast and sharpness; ``bits`` the number of
    the 8 bits that posterise removes.
    """

    levels: int
    shear: float
    translate: float
    pixels: bool
    rotate: float
    enhance: float
    bits: int

    def magnitude(self, action: Action, height: int, width: int) -> float:
        """Give the signed value at which torchvision applies an action to an image of this size."""
        operation, level, sign = action
        if operation in PLAIN:
            return 0.0
        if operation == "Posterize":
            return float((8 - torch.arange(self.levels) / ((self.levels - 1) / self.bits)).round()[level])
        start, end = (1.0, 0.0) if operation == "Solarize" else (0.0, self._largest(operation, height, width))
        return sign * float(torch.linspace(start, end, self.levels)[level])

    def _largest(self, operation: Operation, height: int, width: int) -> float:
        if operation in ("TranslateX", "TranslateY"):
            return self.translate if self.pixels else self.translate * (width if operation == "TranslateX" else height)
        if operation in ("ShearX", "ShearY"):
            return self.shear
        return self.rotate if operation == "Rotate" else self.enhance


TEN = Scale(levels=10, shear=0.3, translate=150.0 / 331.0, pixels=False, rotate=30.0, enhance=0.9, bits=4)
THIRTY_ONE = TEN._replace(levels=31)
WIDE = Scale(levels=31, shear=0.99, translate=32.0, pixels=True, rotate=135.0, enhance=0.99, bits=6)
