"""The folder of the configs, and what they may compute: OmegaConf resolvers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

FOLDER_NAME = "must be the name of a folder: letters, digits and _ - . + = , or blanks, at most 100"


def conf_dir() -> str:
    """Give the folder of the configs: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def complement(weight: float | Mapping[str, Any]) -> float | dict[str, Any]:
    """Give 1 - weight: of a number the number, of a schedule the same schedule with ``complement`` flipped.

    In a config ``${complement:${loss.alpha}}`` makes CE take what the distillation term leaves.

    Raises:
        ValueError: neither a number nor a mapping.

    >>> complement(0.25), complement({"kind": "cosine", "start": 0.0, "end": 0.6})
    (0.75, {'kind': 'cosine', 'start': 0.0, 'end': 0.6, 'complement': True})
    """
    if isinstance(weight, Mapping):
        return {**{str(k): v for k, v in weight.items()}, "complement": not weight.get("complement", False)}
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"complement takes a number or a schedule, got {weight!r}")
    return 1 - weight


def is_folder_name(name: Any) -> bool:
    """Whether a name can be that of a folder: 1 to 100 letters, digits and ``_-.+=, ``, the first no dot."""
    return isinstance(name, str) and re.fullmatch(r"[\w+=,\- ][\w.+=,\- ]{0,99}", name) is not None


def run_dir(resume: str | None, runs: str, name: str, now: str) -> str:
    """Give the folder of a run: that of the run to resume, or a new one.

    Raises:
        ValueError: the name of the run would lead elsewhere.
    """
    if resume:
        return resume
    if not is_folder_name(name):
        raise ValueError(f"name: {FOLDER_NAME}, got {name!r}")
    return f"{runs}/{name}/{now}"


def register() -> None:
    """Make the resolvers known to OmegaConf; calling it again changes nothing."""
    OmegaConf.register_new_resolver("complement", complement, replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
