"""A folder with fewer images than its settings take, told before torch is loaded.

Files are counted, images or not, and no further than the settings need. So there are never more images than are counted
here, and what is refused would be refused by the full check, which reads the folder as training does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from kdbias.config.errors import Problem


def few_images(root: Path, data: Mapping[str, Any], batch_size: Any) -> Iterator[Problem]:
    """Give the problems of ``data.val`` and ``batch_size`` with the images in ``root/train``."""
    val, limit = data.get("val"), data.get("limit")
    known = [value for value in (val, batch_size) if type(value) is int and value > 0]
    if len(known) < 2 or not (root / "train").is_dir():
        return
    own = (root / "val").is_dir() and (root / "test").is_dir()  # then data.val is not read
    taken = 0 if own else known[0]
    count = sum(1 for _ in islice(_files(root / "train"), taken + batch_size))
    if not count:
        return
    if not own and taken >= count:
        taken = max(count // 5, 1)
        text = f"{val} of the {count} images in train: set it to at most {count - 1}; a fifth is data.val={taken}"
        yield Problem("data.val", text)
    left = min(count - taken, limit) if type(limit) is int else count - taken
    if left < batch_size:
        yield Problem("batch_size", f"no batch is full: set it to at most the {left} training images")


def _files(folder: Path) -> Iterator[str]:
    """The files in a folder of classes that may be images."""
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (name for name in files if not name.startswith("."))
