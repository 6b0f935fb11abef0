"""What decides the pixels of a stress set: its parameters, its code and the packages that it uses."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbias.stress.stress_set import StressSet


def describe(stress: Any) -> dict[str, Any]:
    """Give a set, not bound, as a node of plain types: ``_target_`` and every parameter."""
    node: dict[str, Any] = {"_target_": f"{type(stress).__module__}.{type(stress).__qualname__}"}
    for field in fields(stress):
        if not field.name.startswith("_"):
            node[field.name] = _plain(getattr(stress, field.name))
    return node


def made_by(node: Mapping[str, Any]) -> dict[str, str]:
    """Give what else decides the pixels: a digest of the code of this room, and the releases of the packages used."""
    code = hashlib.sha256()
    for module in sorted({"kdbias.stress.stress_set", *_modules(node)}):
        code.update(Path(str(sys.modules[module].__file__)).read_bytes())
    used = {"numpy"} | {name for kind in _kinds(node) for name in kind.libraries}
    return {"code": code.hexdigest()[:16], **{name: _release(name) for name in sorted(used)}}


def digest_of(shape: tuple[int, ...], parts: Iterable[NDArray[np.uint8]], labels: NDArray[np.int64]) -> str:
    """Give the digest of images ``shape`` ``(n, H, W, C)``, a part after the other, and labels, as 32 hex digits."""
    found = hashlib.sha256(f"{shape}".encode())
    for images in parts:
        found.update(np.ascontiguousarray(images).data)
    found.update(np.ascontiguousarray(labels).data)
    return found.hexdigest()[:32]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _names(node: Any) -> list[str]:
    """Every ``_target_`` in a node."""
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [name for entry in node.values() for name in _names(entry)]
    return [name for entry in node for name in _names(entry)] if isinstance(node, list) else []


def _kinds(node: Mapping[str, Any]) -> list[type[StressSet]]:
    parted = [name.rpartition(".") for name in _names(node)]
    return [getattr(sys.modules[module], kind) for module, _, kind in parted]


def _modules(node: Mapping[str, Any]) -> set[str]:
    """The modules of this room behind a node: those of its sets, and what they take from each other."""
    left, found = [name.rpartition(".")[0] for name in _names(node)], set[str]()
    while left:
        module = left.pop()
        if module in found:
            continue
        found.add(module)
        for thing in vars(sys.modules[module]).values():
            home = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
            if isinstance(home, str) and home.startswith("kdbias.stress.") and home in sys.modules:
                left.append(home)
    return found


def _release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
