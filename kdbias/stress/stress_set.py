"""What every stress set is: a pure function of an image, its label, a strength and a generator.

This module needs NumPy alone, so that the processes that build a set start quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""An image, ``(H, W, C)`` uint8 with C = 3 or 1."""
Notes = dict[str, int]
"""What a set says of one image beside its pixels, such as whether a silhouette was found."""


@dataclass(frozen=True)
class StressSet(ABC):
    """One way to change an image whose label stays the same.

    A subclass is a frozen dataclass of plain parameters and overrides ``full``. It overrides ``at`` if its strength is
    not a blend, ``noted_at`` if it says something of each image, ``bind`` if it needs other images, ``refuses`` if some
    data are not for it, and ``no_view`` if it cannot be a view in training. ``notes`` names what is said; ``libraries``
    the packages whose release decides the pixels.
    """

    notes: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    @property
    def aligned(self) -> bool:
        """Whether what the image shows stays where it is."""
        return True

    @property
    def no_view(self) -> str:
        """Say why the set cannot change what a network sees in training, image by image; empty if it can."""
        return ""

    @abstractmethod
    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image at strength 1."""

    def __call__(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Give the image at ``strength``: at 0 the clean image bit for bit, at 1 the full change.

        Raises:
            ValueError: ``strength`` is not in [0, 1].
        """
        return self.noted(image, label, strength, rng)[0]

    def noted(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Give the image at ``strength`` with its notes.

        Raises:
            ValueError: ``strength`` is not in [0, 1].
        """
        check_strength(strength)
        return (image.copy(), {}) if strength == 0 else self.noted_at(image, label, strength, rng)

    def noted_at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Give the image at a strength above 0 with its notes: by default none."""
        return self.at(image, label, strength, rng), {}

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Give the image at a strength above 0: by default a blend of the clean image with the full change."""
        return blend(image, self.full(image, label, rng), strength)

    def require_strength(self, strength: float) -> None:
        """Pass a strength that the set has.

        Raises:
            ValueError: it is not in [0, 1], or between those that there are.
        """
        check_strength(strength)

    def bind(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Self:
        """Give the set with the other images that it draws from: ``(n, H, W, C)`` and ``(n,)``; most need none."""
        return self

    def refuses(self, size: int, channels: int) -> str:
        """Say why images of this size and number of channels are not for it; empty if they are."""
        return ""


def check_strength(strength: float) -> None:
    """Refuse a strength outside [0, 1].

    Raises:
        ValueError: it is outside.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strengths: must be in [0, 1], from the clean image to the full set, got {strength}")


def blend(clean: Image, full: Image, strength: float) -> Image:
    """Mix two images pixel by pixel: ``(1 - strength)·clean + strength·full``, rounded; exact at both ends.

    >>> blend(np.array([[[0]]], np.uint8), np.array([[[100]]], np.uint8), 0.25).item()
    25
    """
    if strength in (0, 1):
        return full if strength else clean
    return to_uint8((1 - strength) * clean + strength * full)


def to_uint8(values: NDArray[np.floating]) -> Image:
    """Round values in 0..255, clipped to that range, to uint8."""
    rounded: Image = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded


def scaled(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Clip values to [0, 1] and bring them to 0..255."""
    made: NDArray[np.floating] = np.clip(values, 0, 1) * 255
    return made


def generator(stress: StressSet, seed: int, index: int) -> np.random.Generator:
    """Give the generator of one image: a function of the kind of set, the seed and the image's place in its split.

    The same numbers are drawn at every strength, so a series of strengths shows one change that grows.
    """
    return np.random.default_rng([crc32(type(stress).__name__.encode()), seed, index])
