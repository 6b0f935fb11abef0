"""Files that appear whole or not at all: every room writes what it leaves behind through here.

A new file is written beside the old one, brought to the disk and renamed. A full disk, an exception or a kill at any
moment leaves the old file as it was.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # of file systems that cannot bring a folder to the disk


@contextmanager
def replacing(path: str | Path, *, only_writer: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends, and is removed where the block fails.

    Folders are made. ``only_writer`` says that no other process writes ``path``: what a killed one left half-written
    is then removed.

    Raises:
        OSError: it cannot be written; names ``path``, which is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if only_writer:
        for left in _half_written(path):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, line ends as they are, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, payload: Mapping[str, Any]) -> None:
    """Write ``payload`` as JSON, whole or not at all. NaN and infinities, which JSON does not have, become null.

    Raises:
        TypeError: something in it is not a plain type.
    """
    write_text(path, json.dumps(_finite(payload), indent=2, allow_nan=False) + "\n")


def digest(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can: a rename is safe from a power cut after that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def _half_written(path: Path) -> list[Path]:
    begin = f".{path.name}."
    return [one for one in path.parent.iterdir() if one.name.startswith(begin) and one.name.endswith(".part")]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
