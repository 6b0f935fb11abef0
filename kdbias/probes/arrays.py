"""Arrays of a Result's file, read only if the file is large enough to hold them."""

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


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Give the arrays of an ``.npz`` file by name.

    Before an array is made, its header is checked against the bytes that follow: a header in a tiny file may claim
    terabytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short or damaged, holds objects, or more than ``LARGEST`` bytes.
    """
    try:
        with zipfile.ZipFile(path) as file:
            held = sum(member.file_size for member in file.infolist())
            if held > LARGEST:
                raise ValueError(f"{path} claims {held:,} bytes of arrays, and at most {LARGEST:,} are read")
            for member in file.infolist():
                with file.open(member) as stream:
                    _require_whole(stream, member, path)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except _DAMAGED as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is cut short or damaged ({error}): make it again") from error


def _require_whole(stream: IO[bytes], member: zipfile.ZipInfo, path: Path) -> None:
    """Pass a member whose header describes plain numbers, as many as it holds."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(stream)
    if kind.hasobject:
        raise ValueError(f"{path}: {member.filename} holds objects, which are not read")
    size, rest = math.prod(shape) * kind.itemsize, member.file_size - stream.tell()
    if size != rest:
        raise ValueError(f"{path}: {member.filename} claims {size:,} bytes and has {rest:,}: it is damaged")
