"""Stress sets on disk: built once, whole or not at all, and read again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbias import files
from kdbias.stress.chunks import CHUNK, Clean, every
from kdbias.stress.describe import describe, made_by
from kdbias.stress.kept import IMAGES, LABELS, MANIFEST, Shape, Stressed, read_chunk, read_set, require_own
from kdbias.stress.stress_set import StressSet, check_strength

FORMAT = 1
Progress = Callable[[int, int], None]
"""Called with the images done and those of all."""


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
        ValueError: ``strength`` is out of range, or what lies in the folder is not what was written there; the message
            names the file and the remedy. A damaged chunk of a build that was ended is made again.
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
    require_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(clean), *clean.part(0, 1)[0].shape[1:])
    with files.lock(folder / "lock"):
        if not (folder / MANIFEST).exists():
            files.sweep_up(folder)
            bound = stress if pool is None else stress.bind(*pool())
            _build(bound, clean, shape, folder, manifest, workers, progress)
        return read_set(folder, manifest, shape, stress.notes)


def _build(
    stress: StressSet,
    clean: Clean,
    shape: Shape,
    folder: Path,
    manifest: dict[str, Any],
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Make the chunks that are missing, then the whole; the manifest comes last and says that the set is there."""
    count, *image = shape
    shapes = {start: (min(CHUNK, count - start), *image) for start in range(0, count, CHUNK)}
    parts = {start: folder / "parts" / f"{start}.npz" for start in shapes}
    notes = len(stress.notes)
    missing = [start for start in shapes if read_chunk(parts[start], shapes[start], notes) is None]
    done = len(shapes) - len(missing)
    for start, chunk in every(stress, clean, missing, manifest["strength"], manifest["seed"], workers):
        with files.replacing(parts[start]) as file:
            np.savez(file, images=chunk.images, notes=chunk.notes)
        done += 1
        if progress is not None:
            progress(min(done * CHUNK, count), count)
    said = []
    with files.replacing(folder / IMAGES) as file:
        height, width, channels = image
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, channels, height, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in shapes:
            found = read_chunk(parts[start], shapes[start], notes)
            if found is None:
                raise ValueError(f"{parts[start]} was changed while the set was built: build it again")
            file.write(np.ascontiguousarray(found.images.transpose(0, 3, 1, 2)).data)
            said.append(found.notes)
    with files.replacing(folder / LABELS) as file:
        np.savez(file, target=clean.labels, notes=np.concatenate(said))
    digests = {one: files.digest(folder / one) for one in (IMAGES, LABELS)}
    files.write_json(folder / MANIFEST, manifest | {"sha256": digests})
    shutil.rmtree(folder / "parts")
