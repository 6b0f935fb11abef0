"""``stress=corruption``: the corruptions of CIFAR-10-C, five severities each, for images of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kdbias.config.build import builder
from kdbias.stress import corruption_blur, corruption_digital, corruption_frost, corruption_noise, corruption_weather
from kdbias.stress.grey import luminance
from kdbias.stress.stress_set import Image, StressSet, check_strength

SEVERITIES = 5
Effect = Callable[[Image, int, np.random.Generator], NDArray[np.floating]]
"""From an image and a severity of 1 to 5 to values in 0..255, whose fractions are cut off."""

COMMON: dict[str, Effect] = {
    "gaussian_noise": corruption_noise.gaussian_noise,
    "shot_noise": corruption_noise.shot_noise,
    "impulse_noise": corruption_noise.impulse_noise,
    "defocus_blur": corruption_blur.defocus_blur,
    "glass_blur": corruption_blur.glass_blur,
    "motion_blur": corruption_blur.motion_blur,
    "zoom_blur": corruption_blur.zoom_blur,
    "snow": corruption_weather.snow,
    "frost": corruption_frost.frost,
    "fog": corruption_weather.fog,
    "brightness": corruption_digital.brightness,
    "contrast": corruption_digital.contrast,
    "elastic_transform": corruption_digital.elastic_transform,
    "pixelate": corruption_digital.pixelate,
    "jpeg_compression": corruption_digital.jpeg_compression,
}
"""The 15 corruptions over which mCE is the mean."""
EXTRA: dict[str, Effect] = {
    "speckle_noise": corruption_noise.speckle_noise,
    "gaussian_blur": corruption_blur.gaussian_blur,
    "spatter": corruption_weather.spatter,
    "saturate": corruption_digital.saturate,
}
"""The four that are meant for choosing settings."""
EVERY = COMMON | EXTRA
COLOURED = ("brightness", "snow", "frost", "spatter", "saturate")
"""They need three channels; a grey image is given three, and the result's luminance is taken."""


@builder("stress")
@dataclass(frozen=True)
class Corruption(StressSet):
    """One corruption of CIFAR-10-C; strength s/5 is severity s, with the published parameters.

    Lengths are in pixels as published, for images of 32; those of ``elastic_transform`` and ``pixelate`` are shares of
    the side. The published images were drawn without a seed; these are drawn by (seed, index), and severities share
    their draws.

    Source: Hendrycks and Dietterich 2019 (1903.12261), hendrycks/robustness ``make_cifar_c.py``.

    Raises:
        ValueError: there is no such corruption, or the images of frost are not there.
    """

    libraries: ClassVar[tuple[str, ...]] = ("scikit-image", "scipy", "pillow", "imagecorruptions")
    kind: str = "gaussian_noise"

    def __post_init__(self) -> None:
        if self.kind not in EVERY:
            raise ValueError(f"stress.corruption.kind must be one of {', '.join(EVERY)}, got {self.kind!r}")
        if self.kind == "frost":
            corruption_frost.folder()

    @property
    def no_view(self) -> str:
        """Say that zoom blur takes too long; empty for the others."""
        return "it takes more than 20 ms an image: choose another blur" if self.kind == "zoom_blur" else ""

    def require_strength(self, strength: float) -> None:
        """Pass a strength of a whole severity, or 0.

        Raises:
            ValueError: it lies between.
        """
        check_strength(strength)
        if strength:
            severity_of(strength)

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image at severity 5."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Give the image at severity 5·strength.

        Raises:
            ValueError: that is no whole number.
        """
        severity = severity_of(strength)
        grey = image.shape[2] == 1 and self.kind in COLOURED
        given = np.repeat(image, 3, axis=2) if grey else image
        made = np.clip(EVERY[self.kind](given, severity, rng), 0, 255).astype(np.uint8)
        return luminance(made) if grey else made

    def refuses(self, size: int, channels: int) -> str:
        """Say that grey images have no saturation; empty for all else."""
        if self.kind == "saturate" and channels == 1:
            return "stress.saturate: the images have one channel, no colour: leave saturate out"
        return ""


def severity_of(strength: float) -> int:
    """Give the severity, 1 to 5, of a strength.

    Raises:
        ValueError: it is that of none.
    """
    severity = round(SEVERITIES * strength)
    if severity < 1 or abs(severity - SEVERITIES * strength) > 1e-6:
        raise ValueError(f"strengths: a corruption has .2, .4, .6, .8 and 1 (severities 1 to 5), got {strength}")
    return severity
