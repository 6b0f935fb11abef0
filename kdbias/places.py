"""Where the configs lie."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> str:
    """Give the folder of the configs: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")
