"""Stress sets: the images of a data set with one cue changed, their labels kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdbias.stress.kept import Stressed
    from kdbias.stress.loading import load

__all__ = ["Stressed", "load"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the processes that build a set need no torch."""
    if name == "load":
        from kdbias.stress.loading import load

        return load
    if name == "Stressed":
        from kdbias.stress.kept import Stressed

        return Stressed
    raise AttributeError(f"module 'kdbias.stress' has no attribute {name!r}")
