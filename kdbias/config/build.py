"""From a plain dict with a ``_target_`` to the object it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hydra.utils import get_object

ALLOWED = ("kdbias.",)


def target(spec: Mapping[str, Any]) -> Any:
    """Give the function or class that ``spec["_target_"]`` names; only names under ``kdbias.`` are resolved.

    Raises:
        ValueError: the key is missing, or the name is not this package's.
    """
    name = spec.get("_target_")
    if not isinstance(name, str) or not name.startswith(ALLOWED):
        raise ValueError(f"_target_ must name a builder under 'kdbias.', got {name!r}")
    return get_object(name)


def build(spec: Mapping[str, Any], *args: Any, **extra: Any) -> Any:
    """Call the builder that ``spec`` names with ``args``, the other keys of ``spec`` and ``extra`` as arguments.

    Unlike ``hydra.utils.instantiate`` it does not recurse and hands objects through untouched.
    """
    rest = {str(k): v for k, v in spec.items() if k != "_target_"}
    return target(spec)(*args, **rest, **extra)


def selected(group: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the entries of a multi-select group that have a builder."""
    for name, entry in group.items():
        if isinstance(entry, Mapping) and "_target_" in entry:
            yield name, entry
