"""``pretrained: auto`` is decided once, before a config is hashed: true if timm's weights are available, else false."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from kdbias.config.build import target
from kdbias.config.control import teacher_use
from kdbias.config.spec import Tree

# The networks that may start from timm's weights, and the files that replace those weights.
FILES = {"model": ("model.weights",), "teacher.model": ("teacher.model.weights", "teacher.weights")}
KEYS = (*(f"{network}.pretrained" for network in FILES), "teacher.pretrained")


def settled(tree: Tree) -> tuple[Tree, list[str]]:
    """Give a config without ``auto``, and the decisions as overrides for the command line of another process.

    A run from scratch and a run from ImageNet weights are therefore two runs, and their configs say which they are.
    Available weights lie in timm's cache afterwards; one warning names those that are not available. If no network has
    ``auto``, the function looks for no weights and returns ``tree`` itself.

    Raises:
        ValueError: timm has no such network, or no weights for it.
    """
    found = _decisions(tree)
    for key, value in found.items():
        tree = _with(tree, key, value)
    return tree, [f"++{key}={str(value).lower()}" for key, value in found.items()]


def as_saved(tree: Tree, saved: Tree) -> dict[str, bool]:
    """Give an earlier run's values for the keys that are ``auto`` in a config; empty if no key is."""
    known = {key: _at(saved, key) for key in KEYS if _at(tree, key) == "auto"}
    return {key: value for key, value in known.items() if value is not None}


def _decisions(tree: Tree) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for network, files in FILES.items():
        if _at(tree, f"{network}.pretrained") != "auto":
            continue
        if any(_at(tree, file) is not None for file in files):
            continue
        if network == "teacher.model" and _unused_teacher(tree):
            continue
        name = _timm_name(_at(tree, network))
        if name is not None:
            from kdbias.models.pretrained import obtainable  # it loads torch and timm, which a sweep does not need

            found[f"{network}.pretrained"] = obtainable(name)
    if "teacher.model.pretrained" in found and _at(tree, "teacher.pretrained") == "auto":
        found["teacher.pretrained"] = found["teacher.model.pretrained"]
    return found


def _unused_teacher(tree: Tree) -> bool:
    use = teacher_use(tree)
    return not (use.uses_teacher and use.uses_teacher_weights)


def _timm_name(network: Tree) -> str | None:
    """Give a network's name in timm: from its node, or ``NAME`` in the module of its builder; None if there is none."""
    name = _at(network, "name")
    return str(name) if name is not None else getattr(import_module(target(network, "model").__module__), "NAME", None)


def _at(tree: Tree, key: str) -> Any:
    """The value at a dotted key; None if there is none, or if it is still missing (``???``)."""
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return None if node == "???" else node


def _with(tree: Tree, key: str, value: Any) -> dict[str, Any]:
    """A config with another value at a dotted key; ``tree`` stays unchanged."""
    first, _, rest = key.partition(".")
    return {**tree, first: _with(tree[first], rest, value) if rest else value}
