"""An exported network: weights as safetensors, and a description beside them, which may come from a stranger.

Nothing in it can run. The weights file holds the SHA-256 of the description's ``spec``, and the description that of the
weights file, so that neither is read with another's; what decides the network is in the digest of the weights alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbias.files import NETWORK, digest

DESCRIPTION = "network.json"
SPEC = "kdbias.spec"  # key of the metadata of safetensors
LARGEST = 2**22  # bytes of a description; 1,000 class names take 20,000
HEADER = 2**25  # bytes of the header of safetensors
KINDS: dict[str, type] = {
    **dict.fromkeys(("teacher", "control", "images", "licence", "name"), str),
    **dict.fromkeys(("accuracy", "data", "made"), dict),
}
SHARES = ("test", "low", "high", "images")
AGAIN = "copy the folder again, or export it anew"


class ZooError(ValueError):
    """A described network that is not as it was written; the message is the reason with the remedy."""


def is_exported(path: Path) -> bool:
    """Whether a path is the weights of an exported folder, by its name."""
    return path.name == NETWORK and path.is_file()


def is_described(path: Path) -> bool:
    """Whether a path is the weights of an exported folder with the description beside them."""
    return is_exported(path) and (path.parent / DESCRIPTION).is_file()


def read_exported(path: Path) -> dict[str, Any]:
    """Give the description beside the weights at ``path``, as ``kdbias.zoo.entry`` gives those of the zoo.

    Raises:
        ZooError: it is missing, damaged or too large, or it is of other weights.
    """
    beside = path.parent / DESCRIPTION
    if not beside.is_file():
        raise ZooError(f"there is no {DESCRIPTION} beside it, which says what network it is: {AGAIN}")
    if beside.stat().st_size > LARGEST:
        raise ZooError(f"{DESCRIPTION} has over {LARGEST:,} bytes, and no description is so large: {AGAIN}")
    try:
        found = json.loads(beside.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, RecursionError, ValueError) as error:
        raise ZooError(f"{DESCRIPTION} beside it cannot be read ({' '.join(str(error).split())}): {AGAIN}") from error
    if problem := _problem(found):
        raise ZooError(f"{DESCRIPTION} beside it {problem}: {AGAIN}")
    if digest(path) != found["sha256"]:
        raise ZooError(f"it is not the file that {DESCRIPTION} beside it describes, by its SHA-256: {AGAIN}")
    if metadata(path).get(SPEC) != fingerprint(found["spec"]):
        raise ZooError(f"spec in {DESCRIPTION} beside it is not the one that these weights were exported with: {AGAIN}")
    data = found.get("data")
    if data is not None and "download" in data:
        data["download"] = False  # a file must not decide where this machine writes data
    return {**found, "teacher": found.get("teacher"), "data": data}


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Give the SHA-256 of a spec in plain types, the same for every order of its keys."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def metadata(path: Path) -> dict[str, Any]:
    """Give the metadata in the header of a file of safetensors; empty if there are none that can be read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= min(HEADER, path.stat().st_size) else b""
    try:
        found = json.loads(text)
    except (RecursionError, ValueError):
        return {}
    inner = found.get("__metadata__") if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def _problem(found: Any) -> str:
    """Say what a description lacks of what its readers need; empty if it is whole."""
    if not isinstance(found, dict):
        return "holds no mapping"
    spec = found.get("spec")
    if not isinstance(spec, dict) or not all(isinstance(spec.get(part), dict) for part in ("model", "data")):
        return "has no spec with model and data"
    if not all(type(found.get(key)) is int for key in ("epoch", "global_step")):
        return "has no whole epoch and global_step"
    if not isinstance(found.get("sha256"), str):
        return "has no sha256"
    for key, kind in KINDS.items():
        if not isinstance(found.get(key), kind | None):
            return f"has {key} of another type"
    accuracy = found.get("accuracy")
    if accuracy is not None and not all(type(accuracy.get(key)) in (int, float) for key in SHARES):
        return f"has an accuracy without the numbers {', '.join(SHARES)}"
    return "" if isinstance(spec.get("teacher"), dict | None) else "has spec.teacher of another type"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
