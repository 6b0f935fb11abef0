"""``stress=conflict``: the shape of one class with the texture of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kdbias.config.build import builder
from kdbias.stress.donors import WithDonors, amplitude_of, with_amplitude
from kdbias.stress.stress_set import Image, Notes, blend


@builder("stress")
@dataclass(frozen=True)
class Conflict(WithDonors):
    """Photographs get the amplitude spectrum of an image of another class; ``data=cues`` draws both by construction.

    The label is that of the shape. The note ``texture`` is the class that the texture is of; the two always differ. At
    strength 0 it is -1. ``strength`` blends.

    Source: Geirhos et al. 2019 (1811.12231), who transfer style instead.
    """

    notes: ClassVar[tuple[str, ...]] = ("texture",)

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with the amplitudes of another class's image."""
        return with_amplitude(image, amplitude_of(self.of_another_class(label, rng)[0]))

    def noted_at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Give the image at a strength above 0 with the class of its texture."""
        donor, texture = self.of_another_class(label, rng)
        return blend(image, with_amplitude(image, amplitude_of(donor)), strength), {"texture": texture}
