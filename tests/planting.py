"""A test's own builder, put where a config may name it."""

from typing import Any

import pytest

from kdbias.config.build import builder


def plant(monkeypatch: pytest.MonkeyPatch, group: str, module: str, *things: Any) -> None:
    """Let configs name ``things``, functions or classes, as ``<module>.<name>`` until the test ends."""
    for thing in things:
        builder(group)(thing)
        monkeypatch.setattr(thing, "__module__", module)
        monkeypatch.setattr(f"{module}.{thing.__name__}", thing, raising=False)
