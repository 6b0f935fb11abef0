"""A set that works on an enlarged image, as sets do that others made for images of 224 px."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from kdbias.config.build import build, builder
from kdbias.stress.smooth import resized
from kdbias.stress.stress_set import Image, Notes, StressSet


@builder("stress")
@dataclass(frozen=True)
class Enlarged(StressSet):
    """``part``, a set or its node, on the image at ``size`` px (bilinear); the result is reduced by averaging.

    ``strength`` and notes are those of the part. The part's lengths are in pixels of the enlarged image, and the other
    images that it draws from are enlarged too.

    Raises:
        ValueError: ``size`` is not positive, or the part has images of its own.
    """

    part: StressSet | Mapping[str, Any]
    size: int = 224

    def __post_init__(self) -> None:
        if not isinstance(self.inner, StressSet):
            raise ValueError("stress: the part of an enlarged image must change images, not have images of its own")
        object.__setattr__(self, "notes", self.inner.notes)

    @cached_property
    def inner(self) -> StressSet:
        """The part, built."""
        made: StressSet = self.part if isinstance(self.part, StressSet) else build(self.part, group="stress")
        return made

    @property
    def aligned(self) -> bool:
        """Whether the part leaves what the image shows where it is."""
        return self.inner.aligned

    @property
    def no_view(self) -> str:
        """Say that images of this size take too long."""
        return f"it works at {self.size} px, too slowly: choose a set that takes the image as it is"

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with the full change."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Enlarge, change and reduce."""
        return self.noted_at(image, label, strength, rng)[0]

    def noted_at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Enlarge, change and reduce, and give what the part notes."""
        changed, said = self.inner.noted(self._large(image), label, strength, rng)
        return resized(changed, (image.shape[0], image.shape[1]), PIL.Image.Resampling.BOX), said

    def require_strength(self, strength: float) -> None:
        """Pass a strength that the part has.

        Raises:
            ValueError: it has it not.
        """
        self.inner.require_strength(strength)

    def bind(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Self:
        """Give the set with its part bound to the enlarged images, where it draws from any."""
        if type(self.inner).bind is StressSet.bind:
            return self
        return replace(self, part=self.inner.bind(np.stack([self._large(image) for image in images]), labels))

    def refuses(self, size: int, channels: int) -> str:
        """Say why the part refuses the enlarged images; empty if it does not."""
        return self.inner.refuses(self.size, channels)

    def _large(self, image: Image) -> Image:
        return resized(image, (self.size, self.size), PIL.Image.Resampling.BILINEAR)
