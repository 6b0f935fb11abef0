"""``stress=rotate``: each cell of a grid is turned, so that local shape is lost and the layout stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdbias.config.build import builder
from kdbias.stress.cells import check_grid, chosen, cut, joined, undivided
from kdbias.stress.stress_set import Image, StressSet


@builder("stress")
@dataclass(frozen=True)
class Rotate(StressSet):
    """Each cell of a ``grid`` × ``grid`` cut is turned by 0, 90, 180 or 270 degrees at random.

    ``strength`` is the share of the cells that are turned.

    Source: Burgert et al. 2025, ``PatchRotation``.

    Raises:
        ValueError: ``grid`` is below 2.
    """

    grid: int = 4

    def __post_init__(self) -> None:
        check_grid("rotate", self.grid)

    @property
    def aligned(self) -> bool:
        """Whether what the image shows stays where it is: not so."""
        return False

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with all cells turned."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Turn a share of the cells."""
        places = chosen(self.grid, strength, rng)
        turns = rng.integers(0, 4, self.grid * self.grid)
        cells = cut(image, self.grid)
        for place in places:
            cells[place] = np.rot90(cells[place], int(turns[place]))
        return joined(cells, self.grid)

    def refuses(self, size: int, channels: int) -> str:
        """Say that the grid does not divide the images; empty if it does."""
        return undivided("rotate", self.grid, size)
