"""Whether files of a published data set are what was published: the first that is not, and why.

A missing file is no fault; what to do about it is another matter than what to do about a broken one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

IDX_IMAGES, IDX_LABELS = 2051, 2049  # the first four bytes of the files, which tell type and dimensions
IDX_SIDE = 28
IDX_COUNTS = {"train": 60_000, "t10k": 10_000}
BLOCK = 1 << 20


def idx_fault(
    folder: Path, classes: int, counts: Mapping[str, int] = MappingProxyType(IDX_COUNTS)
) -> tuple[Path, str] | None:
    """Give the first file of a set in MNIST's layout that is broken, and why; None where there is none.

    Each is looked at by its first bytes and its size, the labels one by one. ``counts`` are the images of each part.
    """
    for part, count in counts.items():
        head = struct.pack(">IIII", IDX_IMAGES, count, IDX_SIDE, IDX_SIDE)
        images, labels = folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte"
        for path, start, size in (
            (images, head, len(head) + count * IDX_SIDE**2),
            (labels, struct.pack(">II", IDX_LABELS, count), 8 + count),
        ):
            if path.is_file() and (reason := _misfit(path, start, size)):
                return path, reason
        if labels.is_file():
            most = int(np.fromfile(labels, np.uint8, offset=8).max())
            if most >= classes:
                return labels, f"it has the label {most}, and they are 0 to {classes - 1}"
    return None


def md5_fault(folder: Path, published: Mapping[str, str]) -> tuple[Path, str] | None:
    """Give the first file in ``folder`` whose MD5 sum is not the ``published`` one, and why; or None."""
    for name, expected in published.items():
        path = folder / name
        if path.is_file():
            status = path.stat()
            if _md5(path, status.st_size, status.st_mtime_ns) != expected:
                return path, f"its {status.st_size:,} bytes are not those that were published: the MD5 sum differs"
    return None


def _misfit(path: Path, start: bytes, size: int) -> str:
    with path.open("rb") as file:
        if file.read(len(start)) != start:
            return "it does not begin as such a file does"
    found = path.stat().st_size
    return f"it has {found:,} bytes and must have {size:,}" if found != size else ""


@lru_cache(maxsize=32)
def _md5(path: Path, size: int, changed: int) -> str:
    """Give the MD5 sum of a file of this size and time of change: once a process, for it is asked at every split."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
