"""Small trained networks that come with the package, by name: to try probes and notebooks without any training.

Each is a file of safetensors with a description beside it, which also says how it was made and how accurate it is.
``benchmarks/zoo.py`` makes them from the runs of a demo.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdbias.files import digest

HOME = Path(__file__).resolve().parent
WEIGHTS = ".safetensors"


class ZooError(ValueError):
    """A file of the zoo that is not as the package came; the message is the reason with the remedy."""


def names() -> tuple[str, ...]:
    """Give the names of the networks."""
    return tuple(sorted(path.stem for path in HOME.glob(f"*{WEIGHTS}")))


def file_of(named: str | Path) -> Path:
    """Give the weights of the network of that name; what is no such name, or a path that exists, stays as it is."""
    path = Path(named)
    return HOME / f"{path}{WEIGHTS}" if str(path) in names() and not path.exists() else path


def entry(path: Path) -> dict[str, Any] | None:
    """Give what lies beside a file of this folder: its ``spec``, ``data``, ``accuracy``, ``made`` and so on.

    None for any other file.

    Raises:
        ZooError: the weights are not those that it was written for.
    """
    path = path.absolute()
    if path.suffix != WEIGHTS or path.parent.resolve() != HOME or not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"its description cannot be read ({error}): install kdbias again") from error
    if digest(path) != found.get("sha256"):
        raise ZooError("it is not the file of the package, by its SHA-256: install kdbias again")
    return found
