"""The configs of probes: those that ``probe=[...]`` selects, and those of ``conf/probe``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdbias.checks.check import ConfigError
from kdbias.config.build import target
from kdbias.config.conf import conf_dir
from kdbias.config.spec import Tree, plain
from kdbias.probes.cache import GIVEN

Nodes = Mapping[str, dict[str, Any]]
"""Configs of probes by name."""


def selected(tree: Tree) -> Nodes:
    """Give the probes of ``probe=[...]``.

    Raises:
        ConfigError: no probe is selected, an argument is unknown, or a probe has settings but is not selected.
    """
    nodes: dict[str, Any] = tree.get("probe") or {}
    if not nodes:
        raise ConfigError("probe: nothing to measure: name at least one, as in probe=[attention,cka]")
    for name, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise ConfigError(f"probe.{name}: has settings but is not selected: add it to probe=[...]")
        takes = [key for key in signature(target(node, "probe")).parameters if key not in GIVEN]
        for key in node.keys() - {"_target_", *takes, *GIVEN}:
            near = get_close_matches(key, takes, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"probe.{name}.{key}: there is no such setting: {meant}it has {', '.join(takes)}")
    return nodes


def wanted(tree: Tree, names: Sequence[str]) -> Nodes:
    """Give the probes ``names`` that a task needs: as ``probe=[...]`` sets them, or else as their yaml does."""
    nodes = selected(tree) if tree.get("probe") else {}
    return {name: nodes[name] if name in nodes else _read(f"{name}.yaml")[name] for name in names}


def shipped() -> Nodes:
    """Give every probe of ``conf/probe``, in the order of the file names."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(Path(conf_dir(), "probe").glob("*.yaml")):
        found |= _read(path.name)
    return found


def _read(file: str) -> Nodes:
    """Give the probes in a file of ``conf/probe``."""
    return plain(OmegaConf.load(Path(conf_dir(), "probe", file)))  # type: ignore[arg-type]
