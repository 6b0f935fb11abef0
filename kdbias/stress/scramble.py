"""``stress=scramble``: cells of a grid change places, so that the global shape is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdbias.config.build import builder
from kdbias.stress.cells import check_grid, chosen, cut, joined, undivided
from kdbias.stress.stress_set import Image, StressSet


@builder("stress")
@dataclass(frozen=True)
class Scramble(StressSet):
    """The cells of a ``grid`` × ``grid`` cut change places, one permutation an image.

    ``strength`` is the share of the cells that take part; at 1 all permutations are equally likely, the identity too.

    Source: Zhang and Zhu 2019 (1905.09797); Burgert et al. 2025, ``PatchShuffle``.

    Raises:
        ValueError: ``grid`` is below 2.
    """

    grid: int = 4

    def __post_init__(self) -> None:
        check_grid("scramble", self.grid)

    @property
    def aligned(self) -> bool:
        """Whether what the image shows stays where it is: not so."""
        return False

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with all cells permuted."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Permute a share of the cells."""
        places = np.sort(chosen(self.grid, strength, rng))
        cells = cut(image, self.grid)
        cells[places] = cells[rng.permutation(places)]
        return joined(cells, self.grid)

    def refuses(self, size: int, channels: int) -> str:
        """Say that the grid does not divide the images; empty if it does."""
        return undivided("scramble", self.grid, size)
