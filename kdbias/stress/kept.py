"""What lies on the disk of a stress set, read with mistrust: its chunks while it is built, and the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias import files
from kdbias.data.arrays import read_array, read_arrays
from kdbias.stress.chunks import Chunk

MANIFEST, IMAGES, LABELS = "manifest.json", "images.npy", "labels.npz"
HEADERS = 4_096  # bytes that the headers of the arrays of a file take at most
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stressed:
    """A stress set as it was read: image i is image i of the clean split, and has its label.

    ``image`` is ``(n, C, H, W)`` uint8, ``target`` ``(n,)`` int64; ``notes`` maps a name to ``(n,)`` int64;
    ``manifest`` tells how the set was made.
    """

    image: Tensor
    target: Tensor
    notes: dict[str, Tensor]
    manifest: dict[str, Any]


def require_own(folder: Path) -> None:
    """Pass the folder of a set that can be built without writing elsewhere; one that is not there can.

    Raises:
        ValueError: it, or the folder of its chunks, is a link.
    """
    for place in (folder, folder / "parts"):
        if place.is_symlink():
            raise ValueError(f"{place} is a link, and what it leads to would be written over: remove it")


def read_chunk(path: Path, shape: Shape, notes: int) -> Chunk | None:
    """Give a chunk of images ``shape`` ``(n, H, W, C)`` that an earlier build left; None where it left none.

    One that is damaged, or of another shape or type, is said in one line and counts as missing.

    Raises:
        ValueError: something else lies in its place.
    """
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise ValueError(f"{path} is no file: remove it to build the set")
        return None
    try:
        found = read_arrays(path, int(np.prod(shape)) + shape[0] * notes * 8 + HEADERS)
        _require(path, found, {"images": (shape, np.uint8), "notes": ((shape[0], notes), np.int64)})
    except ValueError as error:
        print(f"{error}; this part of the set is made again", flush=True)
        return None
    return Chunk(found["images"], found["notes"])


def read_set(folder: Path, expected: Mapping[str, Any], shape: Shape, names: tuple[str, ...]) -> Stressed:
    """Read a whole set whose manifest begins as ``expected``, of clean images ``shape`` ``(n, H, W, C)``.

    Raises:
        ValueError: a file of it is missing, damaged or not what was written there; names it and the remedy.
    """
    try:
        manifest = _manifest(folder / MANIFEST, expected)
        n, height, width, channels = shape
        limits = {IMAGES: int(np.prod(shape)) + HEADERS, LABELS: n * (1 + len(names)) * 8 + HEADERS}
        for one, most in limits.items():
            _require_digest(folder / one, manifest["sha256"].get(one), most)
        arrays = read_arrays(folder / LABELS, limits[LABELS]) | {"image": read_array(folder / IMAGES)}
        kinds = {"target": ((n,), np.int64), "notes": ((n, len(names)), np.int64)}
        _require(folder, arrays, kinds | {"image": ((n, channels, height, width), np.uint8)})
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}: remove the folder {folder} to build the set again") from error
    image, target, notes = (torch.from_numpy(arrays[name]) for name in ("image", "target", "notes"))
    return Stressed(image, target, dict(zip(names, notes.unbind(1), strict=True)), manifest)


def _manifest(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a set; of its name alone nothing depends."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error})") from error
    digests = found.get("sha256") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(digests, dict):
        raise ValueError(f"{path} is no manifest of a stress set")
    wanted = json.loads(json.dumps(expected))
    other = [key for key in wanted if key != "name" and found.get(key) != wanted[key]]
    if other:
        raise ValueError(f"{path} is of another set: its {other[0]} differs")
    return found


def _require_digest(path: Path, digest: Any, most: int) -> None:
    """Pass a file that is what was written; one that is too large is not read for it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file" if path.exists() else f"{path} is not there")
    if path.stat().st_size > most or files.digest(path) != digest:
        raise ValueError(f"{path} is not what was written there")


def _require(
    path: Path, found: Mapping[str, NDArray[Any]], kinds: Mapping[str, tuple[Shape, type[np.generic]]]
) -> None:
    """Pass arrays that are there, and of the right shapes and types."""
    for name, (shape, kind) in kinds.items():
        array = found.get(name)
        if array is None:
            raise ValueError(f"{path} lacks {name}")
        if array.shape != shape or array.dtype != kind:
            raise ValueError(f"{path}: {name} is {array.dtype} {array.shape}, and must be {np.dtype(kind)} {shape}")
