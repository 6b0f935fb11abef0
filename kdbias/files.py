"""Atomic writes: a file appears whole or not at all. Every part of the package writes its files through this module.

A new file is written next to the old one, synced to disk and renamed. A full disk, an exception or a kill at any
moment leaves the old file unchanged.
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

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # errors of file systems that cannot sync a folder


@contextmanager
def replacing(path: str | Path, *, only_writer: bool = False) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` when the block ends; if the block fails, the file is removed.

    Missing folders are made. ``only_writer`` says that no other process writes ``path``; half-written files of a
    killed process are then removed.

    Raises:
        OSError: the file cannot be written. The error names ``path``, which is unchanged.
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
    """Write ``text`` to ``path`` as UTF-8, whole or not at all; line ends stay unchanged."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, payload: Mapping[str, Any]) -> None:
    """Write ``payload`` as JSON, whole or not at all. NaN and infinities, which JSON does not have, become null.

    Raises:
        TypeError: a value in ``payload`` is not of a plain type.
    """
    write_text(path, json.dumps(_finite(payload), indent=2, allow_nan=False) + "\n")


def digest(path: Path) -> str:
    """Give the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, if the system can; a rename then survives a power cut."""
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
