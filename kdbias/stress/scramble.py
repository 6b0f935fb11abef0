"""``stress=scramble``: cells of a grid change places, so that the global shape is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kdbias.config.build import builder
from kdbias.stress.cells import CellSet


@builder("stress")
@dataclass(frozen=True)
class Scramble(CellSet):
    """The cells of a ``grid`` × ``grid`` cut change places, one permutation an image.

    ``strength`` is the share of the cells that take part; at 1 all permutations are equally likely, the identity too.

    Source: Zhang and Zhu 2019 (1905.09797); Burgert et al. 2025, ``PatchShuffle``.

    Raises:
        ValueError: ``grid`` is below 2.
    """

    word: ClassVar[str] = "scramble"

    def changed(self, cells: NDArray[np.uint8], places: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Permute the cells."""
        places = np.sort(places)
        cells[places] = cells[rng.permutation(places)]
