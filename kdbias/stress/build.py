"""Stress sets on disk: built once, whole or not at all, and read again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias import files
from kdbias.stress.chunks import CHUNK, Chunk, Clean, every
from kdbias.stress.describe import describe, made_by
from kdbias.stress.stress_set import StressSet, check_strength

FORMAT = 1
Progress = Callable[[int, int], None]
"""Called with the images done and those of all."""


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


def stored(
    stress: StressSet,
    clean: Clean,
    source: str,
    root: Path,
    *,
    name: str,
    strength: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    pool: Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]] | None = None,
) -> Stressed:
    """Read a set from its folder under ``root``, and build it first if it is not there.

    A second builder of the same set waits for the first. A build that was ended goes on from its last chunk.

    Args:
        stress: the set, not bound.
        clean: the images that it changes.
        source: digest of these images and labels.
        root: folder of all sets.
        name: of the folder and in errors.
        strength: in [0, 1].
        seed: of all draws.
        workers: number of processes; None decides by itself, up to all cores.
        progress: called after each chunk.
        pool: gives the images and labels that ``bind`` gets; None: the set needs none.

    Raises:
        ValueError: ``strength`` is out of range, or what lies in the folder is not what was written there.
    """
    check_strength(strength)
    node = describe(stress)
    manifest = {
        "format": FORMAT,
        "name": name,
        "set": node,
        "strength": float(strength),
        "seed": seed,
        "source": source,
        "images": len(clean),
        "made by": made_by(node),
    }
    key = hashlib.sha256(json.dumps(manifest | {"name": ""}, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock(folder / "lock"):
        if not (folder / "manifest.json").is_file():
            files.sweep_up(folder)
            bound = stress if pool is None else stress.bind(*pool())
            _build(bound, clean, folder, manifest, workers, progress)
        return _read(folder, stress.notes)


def _build(
    stress: StressSet,
    clean: Clean,
    folder: Path,
    manifest: dict[str, Any],
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Make the chunks that are missing, then the whole; the manifest comes last and says that the set is there."""
    parts = folder / "parts"
    starts = list(range(0, len(clean), CHUNK))
    missing = [start for start in starts if not (parts / f"{start}.npz").is_file()]
    done = len(starts) - len(missing)
    for start, chunk in every(stress, clean, missing, manifest["strength"], manifest["seed"], workers):
        with files.replacing(parts / f"{start}.npz") as file:
            np.savez(file, images=chunk.images, notes=chunk.notes)
        done += 1
        if progress is not None:
            progress(min(done * CHUNK, len(clean)), len(clean))
    with files.replacing(folder / "images.npy") as file:
        for start in starts:
            made = _chunk(parts / f"{start}.npz").images.transpose(0, 3, 1, 2)
            if start == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(clean), *made.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(made).data)
    notes = [_chunk(parts / f"{start}.npz").notes for start in starts]
    with files.replacing(folder / "labels.npz") as file:
        np.savez(file, target=clean.labels, notes=np.concatenate(notes))
    digests = {one: files.digest(folder / one) for one in ("images.npy", "labels.npz")}
    files.write_json(folder / "manifest.json", manifest | {"sha256": digests})
    shutil.rmtree(parts)


def _chunk(path: Path) -> Chunk:
    with np.load(path, allow_pickle=False) as found:
        return Chunk(found["images"], found["notes"])


def _read(folder: Path, names: tuple[str, ...]) -> Stressed:
    manifest = json.loads((folder / "manifest.json").read_text())
    for one, digest in manifest["sha256"].items():
        if files.digest(folder / one) != digest:
            raise ValueError(f"{folder / one} is not what was written there: remove the folder to build the set again")
    with np.load(folder / "labels.npz", allow_pickle=False) as found:
        target, notes = torch.from_numpy(found["target"]), torch.from_numpy(found["notes"])
    image = torch.from_numpy(np.load(folder / "images.npy", allow_pickle=False))
    return Stressed(image, target, dict(zip(names, notes.unbind(1), strict=True)), manifest)
