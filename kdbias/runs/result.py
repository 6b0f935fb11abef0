"""The software and hardware of a run, as its ``result.json`` lists them."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "lightning", "timm", "kdbias")


def environment() -> dict[str, Any]:
    """Give versions, git revision and hardware, as plain types.

    ``git`` is the revision of the package's checkout. ``dirty`` says whether the checkout has changes, or new files in
    ``kdbias`` or ``conf``. Both are None for an installed package.
    """
    revision, dirty = _git()
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "git": revision,
        "dirty": dirty,
        "platform": platform.system(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": torch.cuda.device_count(),
    }


@cache
def cpu_name() -> str:
    """Give the CPU's model name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for row in info.read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _git(root: Path = ROOT) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():
        return None, None
    try:
        revision = _run(root, "rev-parse", "HEAD")
        dirty = bool(_run(root, "status", "--porcelain", "--untracked-files=no"))
        dirty = dirty or bool(_run(root, "ls-files", "--others", "--exclude-standard", "--", "kdbias", "conf"))
    except (OSError, subprocess.SubprocessError):
        return None, None
    return revision, dirty


def _run(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
