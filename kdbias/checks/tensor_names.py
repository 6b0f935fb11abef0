"""The names and shapes of the tensors in a file of weights, read without torch and without making anything.

A file of safetensors begins with a header of them. A file of ``torch.save`` is a zip with a pickle; of this, every
class and function is replaced by one that only keeps its arguments, so nothing that a file names is ever called.
"""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

Shapes = dict[str, tuple[int, ...]]
MOST = 50_000_000  # bytes of a header, or of a pickle without its tensors; larger ones are left to the full check
WRAPPERS = ("module.", "_orig_mod.", "student.network.", "network.")
DEEPEST = 4
_BROKEN = (ArithmeticError, AttributeError, BadZipFile, EOFError, LookupError, NotImplementedError, OSError)


def content(path: Path) -> Any:
    """Give what a file holds, with a shape in place of each tensor; None if it cannot be read in this way."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head.startswith(b"PK"):
                return _pickled(path)
            size = int.from_bytes(head, "little")
            if len(head) == 8 and size <= min(MOST, path.stat().st_size):
                found = json.loads(file.read(size))
                return {name: tuple(value["shape"]) for name, value in found.items() if name != "__metadata__"}
    except (*_BROKEN, TypeError, ValueError, MemoryError, RecursionError, pickle.UnpicklingError):
        return None  # the full check says what is wrong with it
    return None


def shapes(found: Any) -> Shapes:
    """Give the tensors by name in what ``content`` gave, without the prefixes of wrappers; empty if there are none."""
    for _ in range(DEEPEST):
        inner = [found[key] for key in ("state_dict", "model", "net", "network") if _holds(found, key)]
        if not inner:
            break
        found = inner[0]
    if not isinstance(found, Mapping):
        return {}
    left = {str(name): value for name, value in found.items() if _is_shape(value)}
    for _ in WRAPPERS:
        prefix = next((one for one in WRAPPERS if left and all(name.startswith(one) for name in left)), None)
        left = {name.removeprefix(prefix or ""): value for name, value in left.items()}
    return left


def builder_of(found: Any) -> str | None:
    """Give the builder of the network in a checkpoint of this package, as its description names it; None elsewhere."""
    for key in ("hyper_parameters", "spec", "model", "_target_"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def _holds(found: Any, key: str) -> bool:
    return isinstance(found, Mapping) and isinstance(found.get(key), Mapping) and bool(found[key])


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(one) is int for one in value)


class _Inert:
    """In the place of every object of a pickle: it keeps nothing and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _shape(*arguments: Any) -> Any:
    """In the place of what makes a tensor of (storage, offset, shape, stride, ...)."""
    return arguments[2] if len(arguments) > 2 else None


def _inner(*arguments: Any) -> Any:
    """In the place of what makes a parameter of a tensor."""
    return arguments[0] if arguments else None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _shape
        return _inner if name == "_rebuild_parameter" else _Inert

    def persistent_load(self, pid: Any) -> None:
        return None


def _pickled(path: Path) -> Any:
    with ZipFile(path) as archive:
        entry = next(one for one in archive.infolist() if one.filename.rpartition("/")[2] == "data.pkl")
        if entry.file_size > MOST:
            return None
        with archive.open(entry) as file:
            return _Unpickler(file).load()
