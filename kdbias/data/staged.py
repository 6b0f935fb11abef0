"""A download that takes its place when it is whole: until then, and if it fails, nothing of it lies with the data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

ARCHIVES = (".gz", ".zip", ".tar")


@contextmanager
def staged(root: Path, folder: str, archives: Collection[str] = ()) -> Iterator[Path]:
    """Give a hidden folder in ``root`` to download and unpack into; at the end its ``folder`` moves into ``root``.

    If the block raises, nothing moves. The hidden folder is removed in any case; one that a killed process left is
    removed first. Files named ``archives`` that already lie in ``root`` or in ``root/folder`` are copied and need no
    download. Archives that were downloaded are not kept.
    """
    place = root / f".{folder.partition('/')[0]}.download"
    shutil.rmtree(place, ignore_errors=True)
    try:
        for source in (root, root / folder):
            for archive in source.iterdir() if source.is_dir() else ():
                if archive.is_file() and archive.name in archives:
                    target = place / archive.relative_to(root)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(archive, target)
        place.mkdir(exist_ok=True)
        yield place
        for path in sorted((place / folder).rglob("*")):
            target = root / path.relative_to(place)
            if path.is_file() and path.suffix not in ARCHIVES:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        shutil.rmtree(place, ignore_errors=True)
