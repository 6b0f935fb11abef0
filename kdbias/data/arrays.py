"""Arrays of a file, read only if the file is large enough to hold them."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

LARGEST = 2**30  # bytes of all arrays of a file
# What zipfile and NumPy raise for bytes that are no archive, encrypted or packed in an unknown way, and for headers
# that are no Python literal or are nested too deep (RecursionError is a RuntimeError).
_DAMAGED = (
    *(zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, TypeError, KeyError, OverflowError),
)


def read_arrays(path: Path, most: int | None = None) -> dict[str, npt.NDArray[Any]]:
    """Give the arrays of an ``.npz`` file by name.

    Before an array is made, its header is checked against the bytes that follow: a header in a tiny file may claim
    terabytes. ``most`` bytes of arrays are read, ``LARGEST`` by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short or damaged, holds objects, or more than ``most`` bytes.
    """
    most = LARGEST if most is None else most
    try:
        with zipfile.ZipFile(path) as file:
            held = sum(member.file_size for member in file.infolist())
            if held > most:
                raise ValueError(f"{path} claims {held:,} bytes of arrays, and at most {most:,} are read")
            for member in file.infolist():
                with file.open(member) as stream:
                    _require_whole(stream, member.file_size, f"{path}: {member.filename}")
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except _DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is cut short or damaged ({error}): make it again") from error


def read_array(path: Path) -> npt.NDArray[Any]:
    """Give the array of an ``.npy`` file, whose header is checked against the bytes of the file first.

    It is mapped, so that only what is used of it takes memory; writing to it does not reach the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short or damaged, or holds objects.
    """
    try:
        with path.open("rb") as stream:
            _require_whole(stream, path.stat().st_size, str(path))
        found: npt.NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
        return found
    except _DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is cut short or damaged ({error}): make it again") from error


def _require_whole(stream: IO[bytes], held: int, what: str) -> None:
    """Pass an array of ``held`` bytes with its header, which describes plain numbers, as many as it holds."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(stream)
    if kind.hasobject:
        raise ValueError(f"{what} holds objects, which are not read")
    size, rest = math.prod(shape) * kind.itemsize, held - stream.tell()
    if size != rest:
        raise ValueError(f"{what} claims {size:,} bytes and has {rest:,}: it is damaged")
