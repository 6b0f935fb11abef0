"""Images cut into a grid of cells, and put together again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import Image


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


def check_grid(name: str, grid: int) -> None:
    """Refuse a grid of fewer than 2 cells to a side.

    Raises:
        ValueError: it has fewer.
    """
    if grid < 2:
        raise ValueError(f"stress.{name}.grid: cells to a side, 2 or more, got {grid}")


def undivided(name: str, grid: int, size: int) -> str:
    """Say that a grid does not divide the images; empty if it does."""
    if size % grid == 0:
        return ""
    fits = ", ".join(str(one) for one in range(2, min(size, 17)) if size % one == 0)
    return f"stress.{name}.grid: {grid} cells to a side do not divide images of {size} pixels: choose one of {fits}"
