"""The cluttered ground of the cue data set: power-law noise with strokes, discs and arcs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tile = NDArray[np.float64]

TILES = 48
SIDE = 128
STROKES = 26
SLOPE = 1.3


def _power_noise(rng: np.random.Generator) -> Tile:
    """Noise of amplitude 1/f^SLOPE, wrapping, unit deviation."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    noise: Tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) / frequency**SLOPE, s=(SIDE, SIDE))
    return np.asarray(noise / noise.std())


def _cover(distance: Tile) -> Tile:
    """Opacity from a signed distance in pixels: a ramp of one pixel."""
    return np.clip(0.5 - distance, 0, 1)


def _clutter(rng: np.random.Generator, kind: int) -> tuple[Tile, NDArray[np.int64], NDArray[np.int64]]:
    """Draw one stroke (0), disc (1) or arc (2): its opacity on a window of the tile, and the window's rows, columns."""
    reach = rng.uniform(2.0, 9.0)
    angle, width, opening = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.4), rng.uniform(-0.6, 0.6)
    half = int(np.ceil(reach + width)) + 1
    row, column = rng.integers(0, SIDE, 2)
    axis = np.arange(-half, half + 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if kind == 0:
        distance = np.hypot(np.maximum(abs(along) - reach, 0), across) - width
    elif kind == 1:
        distance = np.hypot(x, y) - reach / 2
    else:
        circle = abs(np.hypot(x, y) - reach) - width
        distance = np.maximum(circle, opening * reach - along)
    return _cover(distance), (row + axis) % SIDE, (column + axis) % SIDE


@lru_cache(maxsize=1)
def tiles() -> Floats:
    """Give the ground tiles ``(TILES, SIDE, SIDE)`` float32, read-only: mean 0, deviation 1, wrapping on both axes.

    One texel is one pixel. On the noise lie ``STROKES`` strokes, discs and arcs each, lighter or darker by up to two
    deviations, so that the outline and the texture of the object are not the only edges. The same in every process.
    """
    rng = np.random.default_rng(5)
    table = np.empty((TILES, SIDE, SIDE))
    for tile in table:
        tile[:] = _power_noise(rng)
        for kind in rng.permutation(np.arange(3 * STROKES) % 3):
            cover, rows, columns = _clutter(rng, kind)
            window = np.ix_(rows, columns)
            tile[window] += cover * (rng.uniform(-2, 2) - tile[window])
        tile -= tile.mean()
        tile /= tile.std()
    result = table.astype(np.float32)
    result.flags.writeable = False
    return result
