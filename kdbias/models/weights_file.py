"""Files of weights, opened with mistrust: one that is of another kind, cut short or damaged is refused with the reason.

The archives of ``torch.save`` hold a checksum of each entry, which torch does not look at, so a flipped bit would go
into the network. Here every entry is checked before it is used.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from kdbias.config.errors import ConfigError
from kdbias.models.foreign import ALLOWED

CHUNK = 2**20  # bytes
AGAIN = "copy or download it again"
STATE_DICT = "save the network's state_dict() with torch.save, and give that file"
BROKEN = (  # whatever a damaged or hostile file meets in the readers of pickles and tensors
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError),
    *(RuntimeError, TypeError, UnpicklingError, ValueError, SafetensorError, struct.error),
)
DAMAGED = (  # OSError: a place outside of the file
    *(BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error, zlib.error),
)
KINDS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file that it stands for: run git lfs pull"),
    (b"\x89HDF", "it is an HDF5 file, as Keras writes: give weights of PyTorch"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it"),
    (b"BZh", "it is compressed by bzip2: unpack it"),
    (b"\xfd7zXZ", "it is compressed by xz: unpack it"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it"),
    (b"\x93NUMPY", f"it is an array of NumPy: {STATE_DICT}"),
    (b"GGUF", "it is a GGUF file: give weights of PyTorch"),
    (b"%PDF", "it is a PDF: download the weights themselves"),
    (b"\x89PNG", "it is an image: give the file of the weights"),
    (b"\xff\xd8\xff", "it is an image: give the file of the weights"),
)


class WeightsError(ConfigError):
    """Weights that cannot be used; the message is one line with their key or file, and the remedy."""


class UnreadableFile(ValueError):
    """A file from which no weights can be read; the message is the reason with the remedy."""


def read_checked(path: Path) -> Any:
    """Give the content of a file of ``torch.save`` or of safetensors, told apart by their bytes, on the CPU.

    Raises:
        UnreadableFile: it is of another kind, cut short or damaged, or holds more than tensors and plain values.
    """
    with path.open("rb") as file:
        head = file.read(512)
    size = path.stat().st_size
    if reason := _other_kind(head):
        raise UnreadableFile(reason)
    if head.startswith(b"PK"):
        if path.suffix == ".safetensors":
            raise UnreadableFile("it is a file of torch.save under another kind's name: give it the suffix .pth")
        _check_archive(path, size)
    try:
        if not head.startswith(b"PK") and (path.suffix == ".safetensors" or _has_header(head, size)):
            return load_file(path)
        return read_file(path)
    except BROKEN as error:
        raise UnreadableFile(_reason(error)) from error


def read_file(path: Path) -> Any:
    """Give what ``torch.save`` wrote, on the CPU; tensors are mapped from the file where its format allows that."""
    with torch.serialization.safe_globals(ALLOWED):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))


def _other_kind(head: bytes) -> str:
    """Say which other kind of file begins like that, and what to do; nothing where none is known."""
    if not head:
        return f"it is empty: {AGAIN}"
    if not head.strip(b"\0"):
        return f"it begins with zeros alone, as a download that was broken off does: {AGAIN}"
    text = head.lstrip()
    if text.startswith(b"<"):
        return "it is a web page: download the file itself, by the link that says raw, resolve or download"
    if text.startswith((b'{"', b"{\n", b"{\r", b"{ ", b"[")):
        return "it is text (JSON): give the file of the weights"
    return next((reason for begin, reason in KINDS if head.startswith(begin)), "")


def _has_header(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors does: with the length of a header in braces, as 8 bytes."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size


def _check_archive(path: Path, size: int) -> None:
    """Compare every entry of a zip with its checksum, by ``CHUNK`` bytes at a time.

    Raises:
        UnreadableFile: one differs, or ``torch.save`` did not write it.
    """
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            reason = _other_archive(entries, size)
            summed = any(entry.CRC for entry in entries)  # torch can be told to leave them out, as zeros
            for entry in entries if summed and not reason else ():
                with archive.open(entry) as content:
                    while content.read(CHUNK):
                        pass
    except DAMAGED as error:
        raise UnreadableFile(f"it is cut short or damaged ({_short(error)}): {AGAIN}") from error
    if reason:
        raise UnreadableFile(reason)


def _other_archive(entries: list[ZipInfo], size: int) -> str:
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return f"it is a TorchScript archive, a program: {STATE_DICT}"
    if any(name.endswith(".npy") for name in names):
        return f"it is an archive of NumPy: {STATE_DICT}"
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return f"it is a zip that torch.save did not write: unpack it, or {STATE_DICT}"
    if any(entry.compress_type != ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        return f"it is a zip whose entries are compressed or overlap, as torch.save writes none: {STATE_DICT}"
    return ""


def _reason(error: Exception) -> str:
    """Say what a reader's error means for the file, and what to do."""
    text = " ".join(str(error).split())
    named = re.search(r"GLOBAL (\S*\w) |(?:function|but got|class) (<[^>]+>)", text)
    if isinstance(error, UnpicklingError) and named:
        what = named[1] or named[2]
        return f"it holds an object of {what}, and nothing is made but tensors and plain values: {STATE_DICT}"
    return f"it is cut short, damaged or no file of torch.save or safetensors ({_short(error)}): {AGAIN}"


def _short(error: Exception) -> str:
    """What an error says, without torch's advice to trust the file."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
