"""The shape of a config: where a group of settings must stand, and where something else takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.config.errors import Problem

# The place of each group, outer groups first: whether it is required, and whether it names a builder.
GROUPS: tuple[tuple[str, bool, bool], ...] = (
    ("data", True, True),
    ("augment", True, True),
    ("model", True, True),
    ("optim", True, False),
    ("optim.optimizer", True, True),
    ("optim.schedule", False, True),
    ("trainer", True, True),
    ("teacher", False, False),
    ("teacher.model", False, True),
    ("teacher.data", False, False),
    ("loader", False, True),
    ("module", False, True),
    ("module.views", False, True),
    ("module.collapse", False, True),
    ("control", False, True),
    ("loss", False, False),
    ("callback", False, False),
    ("callback.*", False, False),
    ("callback.*.probe", False, True),
    ("logger", False, False),
    ("logger.*", False, False),
    ("paths", False, False),
)
# Settings that are a text or null.
TEXTS = (
    "init",
    "teacher.name",
    "teacher.weights",
    "teacher.recipe",
    "teacher.model.weights",
    "model.weights",
    "control.weights",
)


def shaped(tree: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Give a config without its misplaced values; each becomes a problem.

    These are values in place of a group or of a text, and nodes that must name a builder and do not.
    """
    found = dict(tree)
    for pattern, required, builds in GROUPS:
        *outer, last = pattern.split(".")
        for place, node in list(_places(found, outer, "")):
            for key in list(node) if last == "*" else [last]:
                path = f"{place}{key}"
                problem = _group(path, node.get(key), required, builds)
                if problem is not None and not any(known.key == path for known in problems):
                    problems.append(problem)
                if problem is not None:
                    node.pop(key, None)
                elif isinstance(node.get(key), Mapping):
                    node[key] = dict(node[key])
    for path in TEXTS:
        *outer, last = path.split(".")
        for _, node in _places(found, outer, ""):
            if not isinstance(node.get(last), str | None):
                problems.append(Problem(path, f"must be a text, or null for none, got {node.pop(last)!r}"))
    return found


def _places(node: dict[str, Any], steps: list[str], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings under these keys, each with its path and a dot; ``*`` stands for any key."""
    if not steps:
        yield prefix, node
        return
    for key in list(node) if steps[0] == "*" else steps[:1]:
        if isinstance(node.get(key), dict):
            yield from _places(node[key], steps[1:], f"{prefix}{key}.")


def _group(path: str, value: Any, required: bool, builds: bool) -> Problem | None:
    if value is None:
        return Problem(path, f"is missing: choose one ({path}=NAME)") if required else None
    if not isinstance(value, Mapping):
        return Problem(path, f"must be a group of settings, got {value!r}: choose one by its name, or leave it out")
    if builds and value and "_target_" not in value:
        return Problem(f"{path}._target_", "is missing: it names the builder of these settings; choose one by its name")
    return None
