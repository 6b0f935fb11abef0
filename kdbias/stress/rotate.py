"""``stress=rotate``: each cell of a grid is turned, so that local shape is lost and the layout stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kdbias.config.build import builder
from kdbias.stress.cells import CellSet


@builder("stress")
@dataclass(frozen=True)
class Rotate(CellSet):
    """Each cell of a ``grid`` × ``grid`` cut is turned by 0, 90, 180 or 270 degrees at random.

    ``strength`` is the share of the cells that are turned.

    Source: Burgert et al. 2025, ``PatchRotation``.

    Raises:
        ValueError: ``grid`` is below 2.
    """

    word: ClassVar[str] = "rotate"

    def changed(self, cells: NDArray[np.uint8], places: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Turn the cells."""
        turns = rng.integers(0, 4, self.grid * self.grid)
        for count in (1, 2, 3):
            turned = places[turns[places] == count]
            cells[turned] = np.rot90(cells[turned], count, (1, 2))
