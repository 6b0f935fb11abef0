"""A composed config as plain values; what does not resolve becomes a problem, and the rest is still checked."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from kdbias.config.errors import Problem

_UNRESOLVED = object()  # in the place of a value that does not resolve


def resolved(cfg: DictConfig, problems: list[Problem]) -> dict[str, Any]:
    """Give the plain values of a config without its node ``hydra``; each that does not resolve joins ``problems``."""
    return _read_mapping(cfg, "", problems)


def _read_mapping(node: DictConfig, prefix: str, problems: list[Problem]) -> dict[str, Any]:
    """Resolve a node key by key; a key that does not resolve becomes a problem and is left out."""
    paths = {key: f"{prefix}{key!s}" for key in node}
    found = {key: _resolved(node, key, path, problems) for key, path in paths.items() if path != "hydra"}
    return {str(key): value for key, value in found.items() if value is not _UNRESOLVED}


def _resolved(node: DictConfig | ListConfig, key: Any, path: str, problems: list[Problem]) -> Any:
    """The plain value at a key or place of a node; ``_UNRESOLVED``, with a problem, if it does not resolve."""
    try:
        value = node[key]
    except MissingMandatoryValue:
        problems.append(Problem(path, f"is missing (???): set {path}=VALUE"))
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        raw = node._get_node(key)
        problems.append(Problem(path, f"the interpolation {raw} does not resolve ({first}): set {path} itself"))
    else:
        return _read(value, path, problems)
    return _UNRESOLVED


def _read(value: Any, path: str, problems: list[Problem]) -> Any:
    if isinstance(value, DictConfig):
        return _read_mapping(value, f"{path}.", problems)
    if isinstance(value, ListConfig):
        found = [_resolved(value, i, f"{path}[{i}]", problems) for i in range(len(value))]
        return [one for one in found if one is not _UNRESOLVED]
    return value
