"""What sets share that take something from other images of the data set."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image, StressSet, to_uint8


@dataclass(frozen=True)
class WithDonors(StressSet):
    """A set that draws other images, the donors; ``bind`` gives them, and nothing works before."""

    _images: NDArray[np.uint8] | None = field(default=None, init=False, repr=False, compare=False)
    _labels: NDArray[np.int64] | None = field(default=None, init=False, repr=False, compare=False)

    _means: dict[int, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def no_view(self) -> str:
        """Say that the set takes something from other images."""
        return (
            "it takes the spectrum of other images, and a view changes each image by itself: smooth suppresses texture"
        )

    def bind(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Self:
        """Give the set with its donors: ``(n, H, W, C)`` and ``(n,)``.

        Raises:
            ValueError: they are of fewer than two classes.
        """
        if len(np.unique(labels)) < 2:
            raise ValueError("stress: the donors of amplitudes need two classes: take more images")
        bound = copy(self)
        object.__setattr__(bound, "_images", images)
        object.__setattr__(bound, "_labels", labels)
        object.__setattr__(bound, "_means", {})
        return bound

    def of_another_class(self, label: int, rng: np.random.Generator) -> tuple[Image, int]:
        """Draw an image of another class than ``label``; give it with its own label."""
        images, labels = self._donors()
        place = int(rng.choice(np.flatnonzero(labels != label)))
        return images[place], int(labels[place])

    def of_any_class(self, image: Image, rng: np.random.Generator) -> Image:
        """Draw another image than ``image``."""
        images, _ = self._donors()
        place = int(rng.integers(len(images)))
        found: Image = images[place - 1] if np.array_equal(images[place], image) else images[place]
        return found

    def mean_amplitude(self, label: int) -> NDArray[np.float64]:
        """Average the amplitude spectra of the donors of a class: ``(H, W, C)``."""
        images, labels = self._donors()
        if label not in self._means:
            self._means[label] = np.abs(np.fft.fft2(images[labels == label], axes=(1, 2))).mean(0)
        return self._means[label]

    def classes(self) -> NDArray[np.int64]:
        """Give the classes of the donors."""
        return np.unique(self._donors()[1])

    def _donors(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        if self._images is None or self._labels is None:
            raise RuntimeError("the set has no donors: call bind with the other images first")
        return self._images, self._labels


def with_amplitude(image: Image, amplitude: NDArray[np.floating]) -> Image:
    """Give an image the amplitude spectrum ``(H, W, C)`` of another, its own phase kept; clipped to 0..255."""
    own = np.fft.fft2(image, axes=(0, 1))
    size = np.abs(own)
    phase = np.where(size > 0, own / np.where(size > 0, size, 1), 1)
    return to_uint8(np.fft.ifft2(phase * amplitude, axes=(0, 1)).real)


def amplitude_of(image: Image) -> NDArray[np.float64]:
    """Give the amplitude spectrum of an image, ``(H, W, C)``."""
    return np.asarray(np.abs(np.fft.fft2(image, axes=(0, 1))))
