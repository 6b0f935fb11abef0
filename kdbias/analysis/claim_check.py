"""What a hypothesis of a study must say, so that it can be judged once the runs are done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from kdbias.analysis.study_node import Measure, measure
from kdbias.checks.early import above
from kdbias.checks.words import options
from kdbias.config.errors import Problem
from kdbias.config.spec import Tree
from kdbias.stats.planner import seeds_needed

HYPOTHESIS = ("says", "measure", "of", "than", "times", "direction", "smallest", "sd", "seeds", "matched", "within")
NEEDED = ("says", "measure", "of", "than", "direction", "smallest", "sd")
DIRECTIONS = ("higher", "lower", "equal")
TEST, LOGGED = "test", ("val", "train")
OF_RUN = (TEST, *LOGGED)  # measures that a run folder holds itself


def hypothesis_problems(key: str, one: Any, groups: Sequence[Any], many: int) -> Iterator[Problem]:
    """Give the mistakes in one of ``many`` hypotheses, at ``key``, of a study that has these ``groups``."""
    missing = [part for part in NEEDED if not isinstance(one, Mapping) or one.get(part) is None]
    if missing:
        lacks = f"; {' and '.join(missing)} is missing" if isinstance(one, Mapping) else f", got {one!r}"
        yield Problem(key, f"must say {', '.join(NEEDED)}{lacks}")
        return
    for part in sorted(set(map(str, one)) - set(HYPOTHESIS)):
        yield Problem(f"{key}.{part}", f"nothing reads it: a hypothesis has {', '.join(HYPOTHESIS)}")
    if not isinstance(one["says"], str) or not one["says"].strip():
        yield Problem(f"{key}.says", f"must be a sentence, got {one['says']!r}")
    yield from _side_problems(key, one, groups)
    for part in ("measure", "matched"):
        yield from _measure_problems(f"{key}.{part}", one.get(part))
    yield from _number_problems(key, one)
    if one["direction"] not in DIRECTIONS:
        yield Problem(f"{key}.direction", f"must be one of {', '.join(DIRECTIONS)}, got {one['direction']!r}")
        return
    if not (above(one["smallest"]) and above(one["sd"])):
        return
    try:
        planned = _planned(float(one["smallest"]), float(one["sd"]), many, one["direction"] == "equal")
    except ValueError as error:
        yield Problem(f"{key}.sd", f"with smallest: {error}")
        return
    if one.get("seeds") is not None and (type(one["seeds"]) is not int or one["seeds"] != planned):
        yield Problem(f"{key}.seeds", f"the planner gives {planned} for these numbers, got {one['seeds']!r}")


def _side_problems(key: str, one: Tree, groups: Sequence[Any]) -> Iterator[Problem]:
    sides = {part: one[part] if isinstance(one[part], list) else [one[part]] for part in ("of", "than")}
    for part, named in sides.items():
        if not 1 <= len(named) <= 2 or any(name not in groups for name in named):
            listed = ", ".join(map(str, groups))
            yield Problem(f"{key}.{part}", f"must be one of the runs, or two of them: {listed}; got {one[part]!r}")
    if sides["of"] == sides["than"] and one.get("times") in (None, 1):
        yield Problem(f"{key}.than", f"is {one['than']!r} as well as of: a group does not differ from itself")


def _measure_problems(key: str, text: Any) -> Iterator[Problem]:
    if text is None:
        return
    try:
        found = measure(text)
    except ValueError as error:
        yield Problem(key, str(error))
        return
    if not _known(found):
        yield Problem(key, f"there is no probe {found.probe!r}: {', '.join(options('probe'))}, test, val")
    if found.probe in LOGGED and found.part is None:
        yield Problem(key, f"{text} is a number of every epoch: say when, as in {text}@1, after the last one")
    if found.probe == TEST and found.part is not None:
        yield Problem(key, f"test images are looked at once, after the training: leave @{found.part:g} out")
    if found.layers is not None and found.layers[0] > found.layers[1]:
        first, last = found.layers
        yield Problem(key, f"[{first}-{last}] has no layer: the first comes first, [{last}-{first}]")
    if found.layers is not None and found.part is not None:
        yield Problem(key, f"a part of the training (@) has no layers, only logged numbers do, got {text!r}")


def _number_problems(key: str, one: Tree) -> Iterator[Problem]:
    for part in ("smallest", "sd"):
        if not above(one[part]):
            yield Problem(f"{key}.{part}", f"must be a number above 0, in the unit of the measure, got {one[part]!r}")
    if one.get("times") is not None and not _number(one["times"]):
        yield Problem(f"{key}.times", f"must be a number, such as 0.99, got {one['times']!r}")
    within = one.get("within")
    if within is not None and not (_number(within) and within >= 0):
        yield Problem(f"{key}.within", f"must be a number of at least 0, in the unit of matched, got {within!r}")
    if (within is None) != (one.get("matched") is None):
        missing, there = ("within", "matched") if within is None else ("matched", "within")
        yield Problem(f"{key}.{missing}", f"is missing: {there} says nothing without it")


@cache
def _planned(smallest: float, sd: float, many: int, equal: bool) -> int:
    return seeds_needed(smallest, sd, tests=many, equal=equal)


def _known(found: Measure) -> bool:
    return found.probe in OF_RUN or found.probe in options("probe")


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
