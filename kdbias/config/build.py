"""Build an object from its node, a plain dict with a ``_target_``: only a builder of the requested group is called.

A config, and the description in a checkpoint, may come from a stranger. So a name in it leads to a function or class
only if that is marked as a builder. The builder must lie in a module of this package's rooms, or of a package that the
user has allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from kdbias.config.errors import ArgumentError
from kdbias.config.ranges import RANGES, refusals

T = TypeVar("T")


class TargetError(ValueError):
    """A node that names no builder of its group: ``text`` says what is wrong; the message begins with ``_target_``."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"_target_ {self.text}"


ROOMS = {
    "augment": "kdbias.data",
    "callback": "kdbias.callbacks",
    "collapse": "kdbias.modules",
    "control": "kdbias.controls",
    "data": "kdbias.data",
    "figure": "kdbias.report",
    "loader": "kdbias.data",
    "logger": "kdbias.modules",
    "loss": "kdbias.losses",
    "model": "kdbias.models",
    "module": "kdbias.modules",
    "optimizer": "kdbias.modules",
    "probe": "kdbias.probes",
    "schedule": "kdbias.modules",
    "stress": "kdbias.stress",
    "trainer": "kdbias.modules",
    "views": "kdbias.data",
}
"""Maps each group of builders to the package whose modules hold them."""
_MARK = "__builds__"
_allowed: list[str] = []


def builder(group: str) -> Callable[[T], T]:
    """Mark a function or class as a builder of ``group``, one of ``ROOMS``, so that a config may name it.

    Raises:
        ValueError: there is no such group.

    >>> @builder("loss")
    ... class Mine: ...
    """
    if group not in ROOMS:
        raise ValueError(f"group: must be one of {', '.join(ROOMS)}, got {group!r}")

    def mark(thing: T) -> T:
        setattr(thing, _MARK, group)
        return _refusing(thing)

    return mark


def _refusing(thing: T) -> T:
    """Let a builder refuse arguments out of ``kdbias.config.ranges``: an ``ArgumentError`` names the first."""
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    if name not in RANGES:
        return thing
    made: Any = thing.__init__ if isinstance(thing, type) else thing  # type: ignore[misc]  # its own, or its parent's
    parameters = signature(made).parameters
    defaults = {key: one.default for key, one in parameters.items() if one.default is not one.empty}

    @wraps(made)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for argument, reason in refusals(name, {**defaults, **dict(zip(parameters, args, strict=False)), **kwargs}):
            raise ArgumentError(argument, reason)
        return made(*args, **kwargs)

    if not isinstance(thing, type):
        return cast("T", checked)
    thing.__init__ = checked  # type: ignore[misc]
    return thing


def allow(*packages: str) -> None:
    """Let configs name the builders of further packages, such as ``mypackage.losses``, until the process ends.

    On the command line, ``allow=[mypackage.losses]`` does the same. Nothing in a file can do it.

    Raises:
        ValueError: a name is not that of a package or module.
    """
    for name in packages:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise ValueError(f"allow: must name packages, as in allow=[mypackage.losses], got {name!r}")
        if name not in _allowed:
            _allowed.append(name)


def target(spec: Mapping[str, Any], group: str | None = None) -> Any:
    """Give the function or class that ``spec["_target_"]`` names.

    It imports only from this package's rooms and from the packages that the user has allowed. It calls nothing.

    Args:
        spec: A node; its ``_target_`` is the name.
        group: The group that the builder must belong to. None allows all groups, for names that come from no file.

    Raises:
        TargetError: the key is missing, or it does not name a builder of this group.
        ImportError: there is no such module.
    """
    name = spec.get("_target_")
    places = [*(sorted(set(ROOMS.values())) if group is None else [ROOMS[group]]), *_allowed]
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not any(f"{module}.".startswith(f"{place}.") for place in places):
        where = "kdbias" if group is None else " or ".join(places)
        raise TargetError(
            f"must name a builder of this package, under {where}, got {name!r}; allow=[PACKAGE] adds one of your own"
        )
    found = vars(import_module(module)).get(attribute)
    kind = vars(found).get(_MARK) if isinstance(found, type | FunctionType) else None
    if kind is None or getattr(found, "__module__", None) != module:
        raise TargetError(f"must name a builder, a function or class marked by @kdbias.builder, and {name!r} is none")
    if group is not None and kind != group:
        raise TargetError(f"must name what builds a {group}, and {name!r} builds a {kind}")
    return found


def written(name: Any, group: str) -> bool:
    """Whether the source of a module in the group's room defines the marked function ``name``.

    It does not import that module: a figure's takes half a second of matplotlib. False says no more than that it did
    not find the function; ``target`` knows.
    """
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if not (module.startswith(f"{ROOMS[group]}.") and attribute.isidentifier()):
        return False
    try:
        spec = find_spec(module)
        text = Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
    except (ImportError, OSError, ValueError):
        return False
    return f'\n@builder("{group}")\ndef {attribute}(' in text


def class_named(spec: Any, group: str, kind: type[T]) -> type[T] | None:
    """Give the subclass of ``kind`` that the node ``spec`` names in ``group``; None if it names no such class.

    A name that leads nowhere gives None too, because the check of targets reports it.
    """
    if not isinstance(spec, Mapping) or "_target_" not in spec:
        return None
    try:
        found = target(spec, group)
    except (ImportError, ValueError):
        return None
    return found if isinstance(found, type) and issubclass(found, kind) else None


def build(spec: Mapping[str, Any], *args: Any, group: str | None = None, **extra: Any) -> Any:
    """Call the builder that ``spec`` names with ``args``, the other keys of ``spec`` and ``extra`` as arguments.

    Unlike ``hydra.utils.instantiate``, it does not recurse, and it passes objects on unchanged. It checks the names
    inside ``spec`` first, and calls nothing if one of them does not name a builder.

    Raises:
        TargetError: as ``target``.
    """
    called = target(spec, group)
    for nested in _nested(spec):
        target(nested)
    rest = {str(k): v for k, v in spec.items() if k != "_target_"}
    return called(*args, **rest, **extra)


def selected(group: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the entries of a multi-select group that have a builder."""
    for name, entry in group.items():
        if isinstance(entry, Mapping) and "_target_" in entry:
            yield name, entry


def _nested(node: Any) -> Iterator[Mapping[str, Any]]:
    """The nodes inside a node, at any depth; found without recursion, because a file decides how deep they lie."""
    left = list(node.values()) if isinstance(node, Mapping) else []
    seen: set[int] = set()  # a file may hold one list in many places, or in itself
    while left:
        value = left.pop()
        if isinstance(value, Mapping | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield value
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
