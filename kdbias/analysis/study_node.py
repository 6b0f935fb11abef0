"""What a study's yaml must say, and its hypotheses as objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbias.checks.words import options
from kdbias.config.conf import conf_dir, is_folder_name
from kdbias.config.errors import ConfigError, Problem
from kdbias.config.spec import Tree
from kdbias.data.seeds import SEEDS, is_seed
from kdbias.stats.planner import seeds_needed

KEYS = ("name", "question", "about", "seeds", "common", "overrides", "runs", "hypotheses", "images", "probes", "lanes")
OWN = ("conflict_images", "attention_images", "cnn_weights", "vit_weights")  # of single studies, which their runs name
RUN = ("experiment", "overrides", "control")
HYPOTHESIS = ("says", "measure", "of", "than", "times", "direction", "smallest", "sd", "seeds", "matched", "within")
DIRECTIONS = ("higher", "lower", "equal")
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
                float(one.get("times", 1.0)),
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


def require_study(node: Any) -> None:
    """Pass a study without mistakes.

    Raises:
        ConfigError: it has some; the message gives each one line.
    """
    if not isinstance(node, Mapping):
        raise ConfigError("study: name one: study=demo; `python train.py --help study` says what each asks")
    lines = [str(problem) for problem in _problems(node)]
    if lines:
        raise ConfigError("\n  ".join(lines if len(lines) == 1 else ["the study has mistakes:", *lines]))


def _problems(node: Tree) -> Iterator[Problem]:
    for key in node.keys() - {*KEYS, *OWN}:
        yield Problem(f"study.{key}", f"nothing reads it: a study has {', '.join(KEYS)}")
    if not is_folder_name(node.get("name")):
        yield Problem("study.name", "must be the name of a folder, that of the yaml")
    seeds = node.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(map(is_seed, seeds)) or len(set(seeds)) < len(seeds):
        yield Problem("study.seeds", f"must be a list of different seeds, each {SEEDS}, got {seeds!r}")
    runs = node.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        yield Problem("study.runs", "must name the runs: GROUP: {experiment: NAME, overrides: [...]}")
        return
    for group, one in runs.items():
        yield from _run_problems(f"study.runs.{group}", one, list(runs))
    for name, one in (node.get("hypotheses") or {}).items():
        yield from _hypothesis_problems(f"study.hypotheses.{name}", one, list(runs), len(node["hypotheses"]))


def _run_problems(key: str, one: Any, groups: list[str]) -> Iterator[Problem]:
    if not isinstance(one, Mapping) or one.get("experiment") not in options("experiment"):
        named = one.get("experiment") if isinstance(one, Mapping) else one
        yield Problem(f"{key}.experiment", f"there is no experiment {named!r}: `python train.py --help` lists them")
    elif unknown := one.keys() - set(RUN):
        yield Problem(key, f"nothing reads {', '.join(sorted(unknown))}: a run has {', '.join(RUN)}")
    elif one.get("control") not in (None, *groups):
        yield Problem(f"{key}.control", f"must be one of the runs, got {one['control']!r}: {', '.join(groups)}")


def _hypothesis_problems(key: str, one: Any, groups: list[str], many: int) -> Iterator[Problem]:
    needed = ("says", "measure", "of", "than", "direction", "smallest", "sd")
    if not isinstance(one, Mapping) or any(one.get(part) is None for part in needed):
        yield Problem(key, f"must say {', '.join(needed)}")
        return
    for part in one.keys() - set(HYPOTHESIS):
        yield Problem(f"{key}.{part}", f"nothing reads it: a hypothesis has {', '.join(HYPOTHESIS)}")
    for part in ("of", "than"):
        wrong = [name for name in _groups(one[part]) if name not in groups]
        if wrong or len(_groups(one[part])) > 2:
            yield Problem(f"{key}.{part}", f"must be one of the runs, or two of them: {', '.join(groups)}")
    if one["direction"] not in DIRECTIONS:
        yield Problem(f"{key}.direction", f"must be one of {', '.join(DIRECTIONS)}, got {one['direction']!r}")
        return
    for part in ("measure", "matched"):
        try:
            found = None if one.get(part) is None else measure(one[part])
        except ValueError as error:
            yield Problem(f"{key}.{part}", str(error))
            continue
        if found is not None and not _known(found):
            yield Problem(
                f"{key}.{part}", f"there is no probe {found.probe!r}: {', '.join(options('probe'))}, test, val"
            )
    try:
        planned = seeds_needed(float(one["smallest"]), float(one["sd"]), tests=many, equal=one["direction"] == "equal")
    except (TypeError, ValueError) as error:
        yield Problem(key, f"smallest and sd: {error}")
        return
    if one.get("seeds") not in (None, planned):
        yield Problem(f"{key}.seeds", f"the planner gives {planned} for these numbers, got {one['seeds']!r}")


def _known(found: Measure) -> bool:
    of_run = found.probe in ("test", "val", "train")
    return of_run or Path(conf_dir(), "probe", f"{found.probe}.yaml").is_file()


def _groups(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
