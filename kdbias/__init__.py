"""Distil between networks of unlike families, and measure which inductive bias came along."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdbias import functional, stats
    from kdbias.config.build import allow, builder
    from kdbias.models.checkpoint import load_student, load_teacher
    from kdbias.models.features import Features
    from kdbias.probes.base import Result

__all__ = ["Features", "Result", "allow", "builder", "functional", "load_student", "load_teacher", "stats"]

__version__ = "0.1.0"

_MODULES = ("functional", "stats")
_HOMES = {
    "Features": "kdbias.models.features",
    "Result": "kdbias.probes.base",
    "allow": "kdbias.config.build",
    "builder": "kdbias.config.build",
    "load_student": "kdbias.models.checkpoint",
    "load_teacher": "kdbias.models.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import kdbias`` alone loads no torch."""
    if name in _MODULES:
        return import_module(f"kdbias.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'kdbias' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what ``__getattr__`` would import, so that a notebook completes it."""
    return sorted({*globals(), *__all__})
