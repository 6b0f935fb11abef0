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
import re
import socket
import time
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

NETWORK = "network.safetensors"  # of an exported network; what it is stands in network.json beside it
ABANDONED = 86_400.0  # seconds after which a half-written file of another machine is taken as left behind
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the direction of writing
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
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
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


def sweep_up(folder: Path) -> list[Path]:
    """Remove the half-written files in ``folder`` and below whose writers are dead; give their paths.

    The name of such a file has its writer's machine and process. A file of another machine, or of an older version of
    this package, counts as left behind after ``ABANDONED`` seconds without a change. Links are not followed.
    """
    removed = [path for path in sorted(folder.rglob(".*.part")) if not path.is_symlink() and _left_behind(path)]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def lock(path: Path) -> FileLock:
    """Give the lock in the file ``path``, not yet held.

    Raises:
        FileExistsError: the path is a link: taking the lock would empty the file that it leads to.
    """
    if path.is_symlink():
        raise FileExistsError(errno.EEXIST, "a lock must not be a link: remove it", str(path))
    return FileLock(path)


@contextmanager
def holding(path: Path, message: str) -> Iterator[None]:
    """Hold the lock in the file ``path``; print ``message`` before waiting for a process that holds it.

    Raises:
        FileExistsError: as `lock`.
    """
    held = lock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(message, flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock in the file ``path``; a missing file is not made."""
    if not path.is_file() or path.is_symlink():
        return False
    tried = lock(path)
    try:
        tried.acquire(timeout=0)
    except Timeout:
        return True
    tried.release()
    return False


def held_or_none(path: Path) -> bool | None:
    """Tell the same as ``is_held``; None where the lock is of another user, or its disk is read-only or knows none."""
    try:
        return is_held(path)
    except (OSError, NotImplementedError):
        return None


def digest(path: Path) -> str:
    """Give the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: object) -> str:
    r"""Give a text of a stranger, such as a file's name, with ? for what steers a terminal or has no letter.

    These are control characters, marks that turn the direction of writing, and bytes that are no Unicode.

    >>> printable("a\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNS else c for c in str(text))


def typed(path: str | Path) -> str:
    """Give a path as short as it can be typed here: without the current folder, if it lies in it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def network_in(folder: Path) -> Path | None:
    """Give the weights in an exported folder (``analyze.py task=export``); None where there are none, as in a run.

    A run folder that holds such a file as well stays a run.
    """
    path = folder / NETWORK
    return path if path.is_file() and not (folder / "checkpoints").exists() else None


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


def _host() -> str:
    """Eight hex digits that tell this machine from others."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _left_behind(path: Path) -> bool:
    """Whether nobody will finish a half-written file."""
    marks = re.search(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part$", path.name)
    if marks is not None and marks[1] == _host():
        return not _alive(int(marks[2]))
    try:
        return path.is_file() and time.time() - path.stat().st_mtime > ABANDONED
    except FileNotFoundError:
        return False  # its writer has finished it


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # of another user
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
