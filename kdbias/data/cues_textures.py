"""The ten textures of the cue data set, as wrapping tiles of equal mean and deviation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tile = NDArray[np.float64]

SIDE = 256
TEXELS = 3.2
"""Texels per pixel of a 32-pixel image: a tile is 80 pixels wide, so k cycles a tile are a period of 80/k pixels."""

_Y, _X = np.meshgrid(np.arange(SIDE) / SIDE, np.arange(SIDE) / SIDE, indexing="ij")


def _wave(cycles: Tile | float) -> Tile:
    return np.asarray(np.sin(2 * np.pi * np.asarray(cycles)))


def _square(wave: Tile) -> Tile:
    """Steepen a wave towards a square wave, with a ramp that keeps it free of jagged edges."""
    return np.asarray(np.tanh(3 * wave))


def _lattice(cells: int) -> Tile:
    """Distance to the nearest point of a square lattice, in cells (0 to .71)."""
    return np.asarray(np.hypot((_X * cells) % 1 - 0.5, (_Y * cells) % 1 - 0.5))


def _zigzag() -> Tile:
    """Stripes of period 5.7 px that swing up and down by half a period every 8 px."""
    fold = abs((_X * 10) % 1 - 0.5) * 2
    return _square(_wave(_Y * 14 + 0.9 * fold))


def _noise(seed: int, sigma: float | tuple[float, float]) -> Tile:
    """Gaussian noise, smoothed by ``sigma`` texels (along y, along x), unit deviation."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    smooth: Tile = scipy.ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return np.asarray(smooth / smooth.std())


def _tiles() -> dict[str, Tile]:
    return {
        "fine stripes": _square(_wave(_Y * 24)),
        "coarse stripes": _square(_wave(_Y * 12)),
        "checkers": _square(2 * _wave(_X * 24) * _wave(_Y * 24)),
        "dots": np.tanh((0.30 - _lattice(16)) * 12),
        "mesh": -np.tanh((np.minimum(abs((_X * 14) % 1 - 0.5), abs((_Y * 14) % 1 - 0.5)) - 0.12) * 14),
        "zigzag": _zigzag(),
        "fine noise": _noise(2, 1.2),
        "blobs": _square(_noise(3, 5.0)),
        "rings": np.tanh((0.13 - abs(_lattice(10) - 0.31)) * 14),
        "streaks": _square(_noise(4, (12.0, 1.8))),
    }


TEXTURES: tuple[str, ...] = (
    "fine stripes",
    "coarse stripes",
    "checkers",
    "dots",
    "mesh",
    "zigzag",
    "fine noise",
    "blobs",
    "rings",
    "streaks",
)
"""Name of each class's texture, in class order."""


@lru_cache(maxsize=1)
def tiles() -> Floats:
    """Give the ten tiles ``(10, SIDE, SIDE)`` float32, read-only: mean 0, deviation 1, wrapping on both axes.

    They are slightly blurred, because an image samples about every third texel. They are the same in every process.
    """
    made = _tiles()
    soft = np.stack([scipy.ndimage.gaussian_filter(made[name], 1.0, mode="wrap") for name in TEXTURES])
    soft -= soft.mean((1, 2), keepdims=True)
    table: Floats = (soft / soft.std((1, 2), keepdims=True)).astype(np.float32)
    table.flags.writeable = False
    return table
