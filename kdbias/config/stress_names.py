"""The stress set that a view of training images names: by the name of its yaml, or by a node."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdbias.config.conf import conf_dir

WHO = ("teacher", "student")
"""Those whose view a stress set may change, by ``augment.<who>_stress`` and ``augment.<who>_strength``."""
KEYS = tuple(f"augment.{who}_{what}" for who in WHO for what in ("stress", "strength"))
"""The settings of a run that change a view; the training of its teacher takes none of them."""


def stress_node(given: Any) -> dict[str, Any]:
    """Give the node of a set: of a name, of ``{name: NAME}`` with settings beside it, or of a node with ``_target_``.

    Raises:
        ValueError: no such set exists; the message says which do.
    """
    if isinstance(given, Mapping) and "_target_" in given:
        return dict(given)
    name = given.get("name") if isinstance(given, Mapping) else given
    if not isinstance(name, str):
        raise ValueError(f"give the name of a stress set, or {{name: NAME}} with its settings, got {given!r}")
    if name not in shipped():
        near = get_close_matches(name, shipped(), 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped())}"
        raise ValueError(f"there is no such stress set: {meant}")
    settings = {key: value for key, value in given.items() if key != "name"} if isinstance(given, Mapping) else {}
    return {**shipped()[name], **settings}


@cache
def shipped(variant: str = "") -> dict[str, dict[str, Any]]:
    """Give the nodes of all sets in ``conf/stress/``, or in the folder ``variant`` in it, by name.

    One file may hold several.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(Path(conf_dir(), "stress", variant).glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        found |= content
    return found


def put_stress(augment: dict[str, Any]) -> None:
    """Put the content of a named set in the place of its name; leave out settings of a view that no set changes.

    So a config from before these settings keeps its hash, and one whose set has changed since does not.
    """
    for who in WHO:
        given = augment.get(f"{who}_stress")
        if given is None:
            augment.pop(f"{who}_stress", None)
            augment.pop(f"{who}_strength", None)
        else:
            try:
                augment[f"{who}_stress"] = stress_node(given)
            except ValueError:  # the check reports it
                continue
