"""``stress=texture``: the texture of another image on the layout of this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbias.config.build import builder
from kdbias.stress.donors import WithDonors, amplitude_of, with_amplitude
from kdbias.stress.stress_set import Image


@builder("stress")
@dataclass(frozen=True)
class Texture(WithDonors):
    """``engine=spectral`` takes the amplitude spectrum of another image and keeps the phase; it needs no weights.

    ``donor`` is ``image``, any other image of the split (of its first 2,000), or ``class``, the mean amplitude of
    another class's images. ``strength`` blends.

    Source: Oppenheim and Lim 1981 for what phase and amplitude carry. Style transfer (Gatys et al. 2016) needs the
    weights of VGG-19, which the package does not download.

    Raises:
        ValueError: a choice is unknown, or ``engine`` is gatys.
    """

    engine: Literal["spectral", "gatys"] = "spectral"
    donor: Literal["image", "class"] = "image"

    def __post_init__(self) -> None:
        if self.engine != "spectral":
            known = self.engine == "gatys"
            reason = "gatys needs the weights of VGG-19, which are not here" if known else f"no engine {self.engine!r}"
            raise ValueError(f"stress.texture.engine: {reason}: choose spectral, which needs none")

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with the other's amplitudes."""
        if self.donor == "image":
            return with_amplitude(image, amplitude_of(self.of_any_class(image, rng)))
        others = self.classes()
        return with_amplitude(image, self.mean_amplitude(int(rng.choice(others[others != label]))))
