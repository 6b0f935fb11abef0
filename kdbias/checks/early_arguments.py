"""The rules of a config that its values alone show: arguments of builders, terms of the loss, the objective.

Nothing is imported that needs torch; the ranges are those that the builders themselves read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from kdbias.config.errors import Problem
from kdbias.config.ranges import refusals
from kdbias.losses.schedule import Schedule
from kdbias.losses.teaching import READS, no_teacher

OBJECTIVES = {"val/accuracy": "max", "val/loss": "min", "val/knn": "max", "val/linear": "max"}
SUMS_TERMS = ("kdbias.modules.distill.Distill", "kdbias.modules.linear_head.LinearHead")
"""Modules of this package that train on the terms of ``loss=[...]``."""
NO_TERM = "no term is selected: name at least one, as in loss=[ce]"


def argument_problems(node: Any, path: str = "") -> Iterator[Problem]:
    """Give the arguments of builders, at any depth of a config, that are out of range."""
    if isinstance(node, Mapping):
        for key, reason in refusals(node.get("_target_"), node):
            yield Problem(f"{path}.{key}" if path else key, reason)
        for key, value in node.items():
            yield from argument_problems(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from argument_problems(value, f"{path}[{place}]")


def objective_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problem of an objective that no run has."""
    objective = tree.get("objective", "val/accuracy")
    if objective is None or (isinstance(objective, str) and objective in OBJECTIVES):
        return
    near = get_close_matches(str(objective), OBJECTIVES, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    yield Problem("objective", f"there is no {objective!r}: {meant}choose {' or '.join(OBJECTIVES)}, or null for none")


def term_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of the terms of the loss: none where one is needed, a weight, a teacher that is missing."""
    module, loss, teacher = (tree.get(key) for key in ("module", "loss", "teacher"))
    if not isinstance(module, Mapping) or module.get("_target_") not in SUMS_TERMS:
        return
    terms = {name: node for name, node in loss.items() if _builds(node)} if isinstance(loss, Mapping) else {}
    if not terms and isinstance(loss, Mapping | None):
        yield Problem("loss", NO_TERM)
    for name, node in terms.items():
        if "weight" in node and (reason := _no_weight(node["weight"])):
            yield Problem(f"loss.{name}", reason)
    named = isinstance(teacher, Mapping) and teacher.get("name", "") is not None  # a misplaced name is left out
    untaught = isinstance(teacher, Mapping) and not named and tree.get("control") is None
    for name, node in terms.items():
        if untaught and (wanted := READS.get(str(node["_target_"]))):
            yield Problem(f"loss.{name}", no_teacher(name, wanted))


def _builds(node: Any) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def _no_weight(weight: Any) -> str:
    try:
        Schedule.of(weight)
    except ValueError as error:
        return str(error)
    return ""
