"""Distil between networks of unlike families, and measure which inductive bias came along."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdbias import functional, stats, zoo
    from kdbias.api.distil import distil
    from kdbias.api.probing import probe
    from kdbias.api.results import Results
    from kdbias.api.run import Run
    from kdbias.api.stressed import stress_figure
    from kdbias.api.transferred import transfer
    from kdbias.config.build import allow, builder
    from kdbias.config.errors import ConfigError, RunStopped
    from kdbias.models.checkpoint import load_student, load_teacher
    from kdbias.models.features import Extractor, Features
    from kdbias.probes.base import Result
    from kdbias.report.shown import show

__all__ = [
    "ConfigError",
    "Extractor",
    "Features",
    "Result",
    "Results",
    "Run",
    "RunStopped",
    "allow",
    "builder",
    "distil",
    "functional",
    "load_student",
    "load_teacher",
    "probe",
    "show",
    "stats",
    "stress_figure",
    "transfer",
    "zoo",
]

__version__ = "0.1.0"

_MODULES = ("functional", "stats", "zoo")
_HOMES = {
    "ConfigError": "kdbias.config.errors",
    "Extractor": "kdbias.models.features",
    "Features": "kdbias.models.features",
    "Result": "kdbias.probes.base",
    "Results": "kdbias.api.results",
    "Run": "kdbias.api.run",
    "RunStopped": "kdbias.config.errors",
    "allow": "kdbias.config.build",
    "builder": "kdbias.config.build",
    "distil": "kdbias.api.distil",
    "load_student": "kdbias.models.checkpoint",
    "load_teacher": "kdbias.models.checkpoint",
    "probe": "kdbias.api.probing",
    "show": "kdbias.report.shown",
    "stress_figure": "kdbias.api.stressed",
    "transfer": "kdbias.api.transferred",
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
