"""The code that decides what a probe measures: its file and everything that it imports within the package."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "kdbias"
ROOT = Path(__file__).resolve().parents[1]
READING = ("batch", "data.base", "models.checkpoint", "models.evaluation", "models.features", "probes.observe")
"""Modules that every probe uses: from weights and images to ``Features``."""
NOTHING = ("config", "files")
"""Rooms that do not change a measurement: they build what a config names, and write files."""


def code_digest(builders: Iterable[str], root: Path = ROOT) -> str:
    """Give the SHA-256 of the files behind ``builders`` (``kdbias.probes.hessian.HessianProbe``) and ``READING``."""
    return _digest(tuple(sorted({*builders})), root)


@cache
def _digest(builders: tuple[str, ...], root: Path) -> str:
    found = hashlib.sha256()
    for module, path in sorted(code_of(builders, root).items()):
        found.update(module.encode() + path.read_bytes())
    return found.hexdigest()


def code_of(builders: Iterable[str], root: Path = ROOT) -> dict[str, Path]:
    """Give the modules behind ``builders`` and ``READING`` and all that they import, each with its file.

    Imports are read, not run, also those inside functions. A name that a package re-exports (``from kdbias.functional
    import soft_kl``) leads to the module that defines it, so a change to the package's other names has no effect.
    """
    left = {f"{PACKAGE}.{module}" for module in READING}
    for builder in builders:
        module, _, name = builder.rpartition(".")
        left |= set(_sources(module, name, root))
    found: dict[str, Path] = {}
    while left:
        module = left.pop()
        path = file_of(module, root)
        if path is None or module in found or module.split(".")[1:2] in [[room] for room in NOTHING]:
            continue
        found[module] = path
        for node in ast.walk(ast.parse(path.read_text())):
            left |= set(_imported(node, root))
    return found


def file_of(module: str, root: Path = ROOT) -> Path | None:
    """Give the file of a module of the package, even if a folder outside holds it; None for any other module."""
    first, *rest = module.split(".")
    if first != PACKAGE:
        return None
    beside = getattr(sys.modules.get(module.rpartition(".")[0]), "__path__", ())
    for place in (root.joinpath(*rest), *(Path(folder) / rest[-1] for folder in beside if rest)):
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def _imported(node: ast.AST, root: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
        for alias in node.names:
            yield from _sources(str(node.module), alias.name, root)


def _sources(module: str, name: str, root: Path) -> Iterator[str]:
    """Name the modules that ``from module import name`` depends on."""
    if file_of(f"{module}.{name}", root) is not None:
        yield f"{module}.{name}"
        return
    path = file_of(module, root)
    if path is not None and path.name == "__init__.py":
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
                yield from _sources(str(node.module), name, root)
                return
    yield module


def builders_in(*parts: Any) -> set[str]:
    """Name every builder in parts of a description, also inside strings of JSON."""
    text = json.dumps(parts, default=repr).replace("\\", "")
    return set(re.findall(rf'"_target_": "({PACKAGE}\.[\w.]+)"', text))
