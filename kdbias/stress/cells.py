"""Images cut into a grid of cells, and put together again; the base of the sets that change cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image, StressSet


def cut(image: Image, grid: int) -> NDArray[np.uint8]:
    """Give the cells of an image in rows: ``(grid·grid, H/grid, W/grid, C)``, a copy."""
    height, width, channels = image.shape
    rows, columns = height // grid, width // grid
    parts = image.reshape(grid, rows, grid, columns, channels).transpose(0, 2, 1, 3, 4)
    return parts.reshape(grid * grid, rows, columns, channels).copy()


def joined(cells: NDArray[np.uint8], grid: int) -> Image:
    """Undo ``cut``."""
    _, rows, columns, channels = cells.shape
    parts = cells.reshape(grid, grid, rows, columns, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(parts.reshape(grid * rows, grid * columns, channels))


def chosen(grid: int, strength: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the share ``strength`` of the cells, rounded up; those of a smaller strength are among them."""
    return rng.permutation(grid * grid)[: int(np.ceil(strength * grid * grid))]


@dataclass(frozen=True)
class CellSet(StressSet):
    """A set that cuts an image into ``grid`` × ``grid`` cells and changes a share of them; ``strength`` is that share.

    A subclass implements ``changed`` and gives its ``word``, its name in ``stress=[...]``.

    Raises:
        ValueError: ``grid`` is below 2.
    """

    word: ClassVar[str]
    grid: int = 4

    @property
    def aligned(self) -> bool:
        """Whether what the image shows stays where it is: not so."""
        return False

    def changed(self, cells: NDArray[np.uint8], places: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Change the cells ``(grid·grid, h, w, C)`` at ``places`` in place."""
        raise NotImplementedError(f"{type(self).__name__} must implement changed")

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image with all cells changed."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Change a share of the cells."""
        places = chosen(self.grid, strength, rng)
        cells = cut(image, self.grid)
        self.changed(cells, places, rng)
        return joined(cells, self.grid)

    def refuses(self, size: int, channels: int) -> str:
        """Say that the grid does not divide the images; empty if it does."""
        if size % self.grid == 0:
            return ""
        fits = ", ".join(str(one) for one in range(2, min(size, 17)) if size % one == 0)
        uneven = f"{self.grid} cells to a side do not divide images of {size} pixels"
        return f"stress.{self.word}.grid: {uneven}: choose one of {fits}"
