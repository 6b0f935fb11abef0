"""The stress sets that ``stress=[...]`` selects, built and checked before any image is made."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from kdbias.checks.check import ConfigError
from kdbias.checks.early_tasks import STRENGTHS
from kdbias.config.build import build, target
from kdbias.config.errors import ArgumentError
from kdbias.config.spec import Tree
from kdbias.config.stress_names import shipped
from kdbias.data.base import Source
from kdbias.stress.build import Progress
from kdbias.stress.kept import Stressed
from kdbias.stress.loading import load


def selected(tree: Tree, source: Source) -> dict[str, Any]:
    """Give the sets by name, in the order of the config.

    Raises:
        ConfigError: none is named, a setting is unknown or out of range, or a set refuses the data's images.
    """
    nodes: Mapping[str, Any] = tree.get("stress") or {}
    if not nodes:
        raise ConfigError("stress: no set is named: add stress=[NAME,...], say stress=[scramble,noise]")
    found: dict[str, Any] = {}
    for name, node in nodes.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise ConfigError(f"stress.{name}: has settings but is not selected: add it to stress=[...]")
        if tree.get("preset", "none") != "none":
            node = _published(name, node)
        takes = list(signature(target(node, "stress")).parameters)
        for key in node.keys() - {"_target_", *takes}:
            near = get_close_matches(key, takes, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"stress.{name}.{key}: there is no such setting: {meant}it has {', '.join(takes)}")
        try:
            found[name] = build(node, group="stress")
        except ArgumentError as error:
            raise ConfigError(f"stress.{name}.{error}") from error
        except (ValueError, ImportError) as error:
            raise ConfigError(str(error)) from error
        refuses = getattr(found[name], "refuses", None)
        if refuses is not None and (reason := refuses(source.info.size, source.info.channels)):
            raise ConfigError(reason)
    return found


def _published(name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The earlier report's variant of a set.

    Raises:
        ConfigError: it has none, or settings were given, which are not those of the variant.
    """
    known = shipped("as_published")
    if name not in known:
        there = f"there is none of {name}, only of {', '.join(known)}"
        raise ConfigError(f"preset: as_published: {there}: leave {name} out of stress=[...], or the preset")
    if dict(node) not in (shipped()[name], known[name]):
        raise ConfigError(f"stress.{name}: the variant of preset=as_published has its own settings: drop these")
    return known[name]


def strengths(tree: Tree) -> list[float]:
    """Give the strengths of ``strengths=[...]``.

    Raises:
        ConfigError: there are none, or one is not a number in [0, 1].
    """
    given: Any = tree.get("strengths")
    if reason := STRENGTHS.refusal(given):
        raise ConfigError(f"strengths: {reason}")
    return [float(one) for one in (given if isinstance(given, list) else [given])]


def cache(tree: Tree) -> Path:
    """Give the folder of all stress sets."""
    return Path(tree["paths"]["runs"]) / "stress"


def source_of(tree: Tree) -> Source:
    """Give the data set that the config names, its files fetched where needed.

    Raises:
        ConfigError: it names none, or its files are missing or damaged.
    """
    if tree.get("data") is None:
        raise ConfigError("data: stress sets are made of a data set: add data=NAME, say data=cifar10")
    try:
        source: Source = build(tree["data"], group="data")
        source.prepare()
        _ = source.info  # of a folder, its classes
    except (OSError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    return source


def loaded(
    tree: Tree, source: Source, name: str, stress: Any, strength: float, progress: Progress | None = None
) -> Stressed:
    """Give one set at one strength, of the split, number of images and seed of the config.

    Raises:
        ConfigError: the set refuses them.
    """
    try:
        return load(
            stress,
            source,
            root=cache(tree),
            split=tree["split"],
            strength=strength,
            limit=tree["images"],
            seed=tree["seed"],
            name=name,
            progress=progress,
        )
    except (OSError, ValueError) as error:  # a full disk too is one line
        raise ConfigError(str(error)) from error
