"""Stress sets on whole batches of uint8 images ``(B, C, H, W)``, on the device where they are.

Each function changes images as the set of its name changes one (``at``), to the same values for the same draws. The
draws come from the keys of the images, on the host and all at once, so nothing waits for the device.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.data.geometry import put
from kdbias.stress.cells import CellSet
from kdbias.stress.chain import Chain
from kdbias.stress.draws import Keys, normals, purpose, uniforms
from kdbias.stress.grey import LUMINANCE, ORDERS, Grey
from kdbias.stress.noise import Noise
from kdbias.stress.rotate import Rotate
from kdbias.stress.scramble import Scramble
from kdbias.stress.smooth import Smooth, disc, likeness, taps_of
from kdbias.stress.stress_set import StressSet


@singledispatch
def changed(stress: StressSet, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    """Give images at a strength above 0; None for a set that changes one image at a time."""
    return None


@changed.register
def _chain(stress: Chain, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    found: Tensor | None = image
    for place, part in enumerate(stress.sets):
        if found is not None:
            found = changed(part, found, strength, purpose(keys, f"part {place}"))
    return found


@changed.register
def _scramble(stress: Scramble, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    places = np.sort(_places(stress, strength, keys), axis=1)
    order = np.argsort(uniforms(purpose(keys, "order"), places.shape[1]), axis=1)
    source = np.tile(np.arange(stress.grid**2), (len(keys), 1))
    np.put_along_axis(source, places, np.take_along_axis(places, order, 1), 1)
    cells = _cut(image, stress.grid)
    rows = torch.arange(len(image), device=image.device)[:, None]
    return _joined(cells[rows, put(source, image.device)], stress.grid)


@changed.register
def _rotate(stress: Rotate, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    turns = np.zeros((len(keys), stress.grid**2), np.int64)
    places = _places(stress, strength, keys)
    drawn = (4 * uniforms(purpose(keys, "turns"), stress.grid**2)).astype(np.int64)
    np.put_along_axis(turns, places, np.take_along_axis(drawn, places, 1), 1)
    cells = _cut(image, stress.grid)
    flat = cells.flatten(0, 1)
    for count in (1, 2, 3):
        rows = put(np.flatnonzero(turns == count), image.device)
        flat[rows] = flat[rows].rot90(count, (2, 3))
    return _joined(cells, stress.grid)


@changed.register
def _grey(stress: Grey, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    if stress.way == "permute":
        order = np.array(ORDERS)[(len(ORDERS) * uniforms(keys, 1)[:, 0]).astype(np.int64)]
        rows = torch.arange(len(image), device=image.device)[:, None]
        return _blend(image, image[rows, put(order, image.device)], strength)
    # in whole thousandths, so that every device rounds a tie alike; a matrix product on floats rounds it either way
    thousandths = sum(image[:, c].long() * round(1000 * weight) for c, weight in enumerate(LUMINANCE.tolist()))
    grey = to_uint8(torch.as_tensor(thousandths).double() / 1000)
    return _blend(image, grey[:, None].repeat(1, 3, 1, 1), strength)


@changed.register
def _noise(stress: Noise, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    count, channels, height, width = image.shape
    if stress.pattern == "fixed":
        rows, columns, noise = stress.fixed((height, width, channels))
        added = np.zeros((1, height, width, channels))
        added[:, rows, columns] = noise
    else:
        down, across = (height, width) if stress.window is None else (stress.window,) * 2
        noise = normals(purpose(keys, "noise"), down * across * channels).reshape(count, down, across, channels)
        top, left = _corners(stress, keys, height - down, width - across)
        added = np.zeros((count, height, width, channels))
        row, column = top[:, None] + np.arange(down), left[:, None] + np.arange(across)
        added[np.arange(count)[:, None, None], row[:, :, None], column[:, None, :]] = noise
    scaled = put(np.ascontiguousarray((255 * strength * stress.sigma * added).transpose(0, 3, 1, 2)), image.device)
    return to_uint8(image + scaled)


@changed.register
def _smooth(stress: Smooth, image: Tensor, strength: float, keys: Keys) -> Tensor | None:
    if stress.protocol != "own":
        return None
    filtered = _bilateral(image, stress) if stress.filter == "bilateral" else _gaussian(image, stress)
    return _blend(image, filtered, strength)


def _bilateral(image: Tensor, stress: Smooth) -> Tensor:
    """``kdbias.stress.smooth.bilateral``, in its order of operations."""
    radius, (height, width) = stress.diameter // 2, image.shape[2:]
    wide = _mirrored(image, radius).float()
    values = image.float()
    alike = put(likeness(stress.colour_sigma, image.shape[1]), image.device)
    total, weights = torch.zeros_like(values), torch.zeros_like(values[:, :1])
    for down, right, near in disc(radius, stress.space_sigma):
        other = wide[..., radius + down : radius + down + height, radius + right : radius + right + width]
        apart = (other - values).abs().sum(1, keepdim=True).long()
        weight = alike[apart] * float(near)
        total += weight * other
        weights += weight
    return to_uint8(total / weights)


def _gaussian(image: Tensor, stress: Smooth) -> Tensor:
    """``kdbias.stress.smooth.gaussian``, in SciPy's order of additions for weights that are symmetric."""
    weights = taps_of(stress.sigma, stress.taps)
    half = len(weights) // 2
    values = image.double()
    for axis in (2, 3):
        size = values.shape[axis]
        wide = values.index_select(axis, put(_mirror(size, half), image.device))
        found = wide.narrow(axis, half, size) * weights[half]
        for away in range(half, 0, -1):
            pair = wide.narrow(axis, half - away, size) + wide.narrow(axis, half + away, size)
            found += pair * weights[half + away]
        values = found
    return to_uint8(values)


def to_uint8(values: Tensor) -> Tensor:
    """Round values in 0..255, clipped to that range, to uint8, as ``kdbias.stress.stress_set.to_uint8``."""
    return values.round().clamp(0, 255).to(torch.uint8)


def _blend(clean: Tensor, full: Tensor, strength: float) -> Tensor:
    return full if strength == 1 else to_uint8((1 - strength) * clean.double() + strength * full.double())


def _places(stress: CellSet, strength: float, keys: Keys) -> NDArray[np.int64]:
    """The cells that change, ``(B, n)`` of a share ``strength``, as ``kdbias.stress.cells.chosen``."""
    cells = stress.grid**2
    return np.argsort(uniforms(purpose(keys, "places"), cells), axis=1)[:, : int(np.ceil(strength * cells))]


def _cut(image: Tensor, grid: int) -> Tensor:
    """Give the cells of images in rows, ``(B, grid·grid, C, H/grid, W/grid)``, a copy."""
    count, channels, height, width = image.shape
    parts = image.reshape(count, channels, grid, height // grid, grid, width // grid)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(count, grid * grid, channels, height // grid, width // grid).clone()


def _joined(cells: Tensor, grid: int) -> Tensor:
    """Undo ``_cut``."""
    count, _, channels, rows, columns = cells.shape
    parts = cells.reshape(count, grid, grid, channels, rows, columns).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(count, channels, grid * rows, grid * columns)


def _corners(stress: Noise, keys: Keys, down: int, across: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The top and the left of each image's window, which leaves so many places."""
    if stress.place == "centre":
        return np.full(len(keys), down // 2), np.full(len(keys), across // 2)
    top, left = uniforms(purpose(keys, "place"), 2).T
    return ((down + 1) * top).astype(np.int64), ((across + 1) * left).astype(np.int64)


def _mirror(size: int, half: int) -> NDArray[np.int64]:
    """Positions ``-half .. size - 1 + half``, mirrored at the border without repeating its pixel."""
    if size == 1:
        return np.zeros(1 + 2 * half, np.int64)
    places = np.arange(-half, size + half) % (2 * size - 2)
    return np.minimum(places, 2 * size - 2 - places)


def _mirrored(image: Tensor, radius: int) -> Tensor:
    for axis in (2, 3):
        image = image.index_select(axis, put(_mirror(image.shape[axis], radius), image.device))
    return image
