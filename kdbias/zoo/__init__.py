"""Small trained networks that come with the package, by name: to try probes and notebooks without any training.

Each is a file of safetensors with a description beside it, which also says how it was made and how accurate it is.
``benchmarks/zoo.py`` makes them from the runs of a demo. Exported networks have the same format (``zoo.exported``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdbias.files import digest, network_in
from kdbias.zoo.exported import ZooError, is_described, is_exported, read_exported

__all__ = ["HOME", "WEIGHTS", "ZooError", "entry", "file_of", "is_described", "is_exported", "name_of", "names"]

HOME = Path(__file__).resolve().parent
"""The folder of the networks that come with the package."""
WEIGHTS = ".safetensors"
"""How the names of files of weights end."""


def names() -> tuple[str, ...]:
    """Give the names of the networks."""
    return tuple(sorted(path.stem for path in HOME.glob(f"*{WEIGHTS}")))


def file_of(named: str | Path) -> Path:
    """Give the weights of the network of that name, or in that exported folder; any other path stays as it is."""
    path = Path(named)
    if (inside := network_in(path)) is not None:
        return inside
    return HOME / f"{path}{WEIGHTS}" if str(path) in names() and not path.exists() else path


def entry(path: Path) -> dict[str, Any] | None:
    """Give what lies beside a file of this folder, or an exported one: its ``spec``, ``data``, ``accuracy`` and so on.

    None for any other file.

    Raises:
        ZooError: the weights are not those that it was written for, or what lies beside an exported file is no such
            description.
    """
    path = path.absolute()
    if is_exported(path) and path.parent.resolve() != HOME:
        return read_exported(path)
    if path.suffix != WEIGHTS or path.parent.resolve() != HOME or not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"its description cannot be read ({error}): install kdbias again") from error
    if digest(path) != found.get("sha256"):
        raise ZooError("it is not the file of the package, by its SHA-256: install kdbias again")
    return found


def name_of(path: Path) -> str:
    """Give what a described network is called: by its file in the zoo, by its folder where it was exported."""
    path = path.absolute()
    return path.parent.name if is_exported(path) else path.stem
