"""The hypotheses of a study's yaml as objects; ``kdbias.analysis.study_check`` says what it may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kdbias.config.spec import Tree
from kdbias.stats.planner import seeds_needed

MEASURE = re.compile(r"(?P<probe>\w+)/(?P<key>\w+)(\[(?P<first>\d+)-(?P<last>\d+)\])?(@(?P<part>0?\.\d+|1))?")


@dataclass(frozen=True)
class Measure:
    """A number of a run: ``PROBE/SCALAR``; ``PROBE/ARRAY[2-6]``, the mean over these layers; ``val/accuracy@.25``, at a
    part of its training.
    """

    text: str
    probe: str
    key: str
    layers: tuple[int, int] | None = None
    part: float | None = None

    @property
    def percent(self) -> bool:
        """Whether it is a share that is written in percent."""
        return "accuracy" in self.key or self.key.endswith(("share", "agreement"))


@dataclass(frozen=True)
class Hypothesis:
    """What a study claims in advance: ``measure`` of ``of`` is higher or lower than that of ``than``, or equal.

    ``of`` and ``than`` are one group, or two: the first minus the second. ``than`` counts ``times`` its value.
    ``smallest`` is the smallest difference that matters, ``sd`` the expected standard deviation over seeds of the
    paired difference, ``seeds`` the number that finds ``smallest`` with a power of .8 among all hypotheses of the
    study. If the groups' means of ``matched`` differ by more than ``within``, nothing is decided.
    """

    name: str
    says: str
    measure: Measure
    of: tuple[str, ...]
    than: tuple[str, ...]
    direction: str
    smallest: float
    sd: float
    seeds: int
    times: float = 1.0
    matched: Measure | None = None
    within: float = 0.0


def hypotheses(node: Tree) -> list[Hypothesis]:
    """Give the hypotheses of a study; missing ``seeds`` are planned."""
    found, many = [], len(node.get("hypotheses") or {})
    for name, one in (node.get("hypotheses") or {}).items():
        smallest, sd = float(one["smallest"]), float(one["sd"])
        planned = seeds_needed(smallest, sd, tests=many, equal=one["direction"] == "equal")
        found.append(
            Hypothesis(
                str(name),
                str(one["says"]),
                measure(one["measure"]),
                _groups(one["of"]),
                _groups(one["than"]),
                str(one["direction"]),
                smallest,
                sd,
                int(one.get("seeds") or planned),
                1.0 if one.get("times") is None else float(one["times"]),
                measure(one["matched"]) if one.get("matched") else None,
                float(one.get("within") or 0.0),
            )
        )
    return found


def measure(text: Any) -> Measure:
    """Read a measure.

    Raises:
        ValueError: it is none.
    """
    found = MEASURE.fullmatch(str(text))
    if found is None:
        raise ValueError(f"must be PROBE/SCALAR, PROBE/ARRAY[2-6] or val/accuracy@.25, got {text!r}")
    layers = (int(found["first"]), int(found["last"])) if found["first"] else None
    part = float(found["part"]) if found["part"] else None
    return Measure(str(text), found["probe"], found["key"], layers, part)


def _groups(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
