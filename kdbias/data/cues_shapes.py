"""The ten outlines of the cue data set, and neutral blobs, as signed-distance tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Inside = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

SIDE = 128
EXTENT = 2.0
AREA = 2.0
BLOBS = 32


def _polygon(corners: list[tuple[float, float]]) -> Inside:
    """Even-odd rule over the edges of a closed polygon."""

    def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        odd = np.zeros(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            if ay != by:
                odd ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        return odd

    return inside


def _star(points: int, inner: float) -> Inside:
    """Corners alternate between radius 1 and ``inner``; two points make a diamond, three or more a star."""
    angles = np.pi * np.arange(2 * points) / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return _polygon([(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)])


def _heart(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The sextic heart (x² + y² − 1)³ < x² y³, point down in image coordinates (y grows downwards)."""
    return (x**2 + y**2 - 1) ** 3 + x**2 * y**3 < 0


SHAPES: dict[str, Inside] = {
    "disc": lambda x, y: x**2 + y**2 < 1,
    "triangle": _star(3, 0.5),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 1,
    "star": _star(5, 0.42),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.32) & (np.maximum(abs(x), abs(y)) < 1),
    "ring": lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.58**2),
    "crescent": lambda x, y: (x**2 + y**2 < 1) & ((x - 0.55) ** 2 + y**2 > 0.75**2),
    "heart": _heart,
    "bar": lambda x, y: (abs(x) < 1) & (abs(y) < 0.32),
    "hourglass": lambda x, y: (abs(y) < 1) & (abs(x) < 0.08 + 0.80 * abs(y)),
}
"""Name of each class's outline, in class order, and its inside test (any scale and place: both are normalised)."""


def _blob(rng: np.random.Generator) -> Inside:
    """A smooth closed outline with no corner, hole or straight side: radius 1 plus four random harmonics."""
    size = rng.uniform(0.05, 0.20, 4) / np.sqrt([1, 2, 3, 4])
    phase = rng.uniform(0, 2 * np.pi, 4)

    def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        angle = np.arctan2(y, x)
        radius = 1 + sum(a * np.cos(k * angle + p) for k, a, p in zip((2, 3, 4, 5), size, phase, strict=True))
        return np.asarray(x**2 + y**2 < radius**2)

    return inside


def _distance(inside: Inside) -> Floats:
    """Signed distance (negative inside) of the outline moved to centroid 0 and scaled to ``AREA``."""
    axis = (np.arange(2 * SIDE) + 0.5) / SIDE - 1
    row, column = np.meshgrid(axis * EXTENT, axis * EXTENT, indexing="ij")
    # Area and centroid are counted on a rotated grid, so that no straight side falls between two grid lines.
    x, y = 0.8 * column - 0.6 * row, 0.6 * column + 0.8 * row
    found = inside(x, y)
    scale = np.sqrt(found.mean() * (2 * EXTENT) ** 2 / AREA)
    shift_x, shift_y = x[found].mean(), y[found].mean()
    found = inside(column * scale + shift_x, row * scale + shift_y)
    signed = scipy.ndimage.distance_transform_edt(~found) - scipy.ndimage.distance_transform_edt(found)
    # Distances are to the centre of the nearest texel on the other side; the outline is half a texel nearer.
    signed = (signed - 0.5 * np.sign(signed)) * (EXTENT / SIDE)
    table: Floats = signed.reshape(SIDE, 2, SIDE, 2).mean((1, 3)).astype(np.float32)
    return table


@lru_cache(maxsize=1)
def distances() -> Floats:
    """Give the tables of the ten shapes, then of the blobs: ``(10 + BLOBS, SIDE, SIDE)`` float32, read-only.

    A table spans [-EXTENT, EXTENT] on both axes (x to the right, y down); distances are in the same unit, in which
    every outline has area ``AREA`` and centroid 0. The tables are the same in every process: they define the classes.
    """
    rng = np.random.default_rng(1)
    table = np.stack([_distance(inside) for inside in (*SHAPES.values(), *(_blob(rng) for _ in range(BLOBS)))])
    table.flags.writeable = False
    return table
