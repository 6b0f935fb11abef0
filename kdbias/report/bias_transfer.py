"""How much of a bias was handed on: methods beside their control and their teacher, on each stress set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.report.bias_rows import by_set, last_versions
from kdbias.report.group import Group
from kdbias.stats import Difference, Estimate, difference, family, retention_noise, seed_mean, transfer_index

PROBE = "bias"
SCORE = "retention"
"""The score whose differences and transfer are tested: accuracy above chance that is kept, at a set's full strength."""
RANGE = {"accuracy": (0.0, 1.0)}
Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Direction:
    """The methods that are compared with one control, which is None if they have none.

    ``teachers`` holds the Result of each method's teacher, by the method's label; ``names`` what rows call it.
    """

    methods: Sequence[Group]
    control: Group | None
    teachers: Mapping[str, Result]
    names: Mapping[str, str]

    @property
    def rows(self) -> dict[str, Group | Result]:
        """What the tables of scores have a row for: methods, then the control, then each teacher once."""
        groups = [*self.methods, *([self.control] if self.control is not None else [])]
        return {
            **{group.label: group for group in groups},
            **{self.names[label]: result for label, result in self.teachers.items()},
        }


def directions(groups: Sequence[Group], teachers: Mapping[str, Result]) -> list[Direction]:
    """Put the groups that ``probe=bias`` measured together by their control; ``teachers`` are Results by group."""
    shown = {group.label: group for group in groups if answered(group)}
    controls = {group.control for group in shown.values() if group.control != group.label}
    found: dict[str | None, list[Group]] = {}
    for group in shown.values():
        control = group.control if group.control in shown and group.control != group.label else None
        if control is None and group.label in controls:
            found.setdefault(group.label, [])
        else:
            found.setdefault(control, []).append(group)
    given: list[Direction] = []
    taken: dict[str, Result] = {}
    for control, methods in found.items():
        own = {one.label: teachers[one.label] for one in methods if one.label in teachers}
        given.append(
            Direction(methods, shown[control] if control is not None else None, own, _names(methods, own, taken))
        )
    return given


def answered(group: Group) -> dict[int, Result]:
    """Give the Results of a group by seed, without those in which nothing was measured."""
    return {seed: result for seed, result in group.results.get(PROBE, {}).items() if not result.refused}


def stress_sets(found: Sequence[Direction]) -> list[str]:
    """Give the names of the sets that any run was measured on, in their order; corruptions are left out."""
    runs = [run for one in found for row in one.rows.values() for run in results_of(row)]
    return list(dict.fromkeys(name for run in runs for name in last_versions(run)))


def results_of(row: Group | Result) -> list[Result]:
    """Give the Results behind a row: one for each seed, or that of the teacher."""
    return [row] if isinstance(row, Result) else list(answered(row).values())


def score(row: Group | Result, kind: str, name: str) -> Estimate:
    """Give a score of the set ``name`` (``clean``: of the unchanged images).

    It is the mean over seeds with Student's interval; for a teacher, one network, the interval is over images. If the
    score of a seed is refused, so is the mean, for the same reason.
    """
    if isinstance(row, Result):
        return number(row, kind, name)
    each = {seed: number(result, kind, name) for seed, result in answered(row).items()}
    if reason := _lack(each):
        return Estimate.refuse(reason)
    return seed_mean([one.value for one in each.values()], within=RANGE.get(kind, (-math.inf, math.inf)))


def number(result: Result, kind: str, name: str) -> Estimate:
    """Give a score of one network, with the reason that the probe gave where it is refused."""
    found = by_set(kind)(result, name)
    if not found.refused:
        return found
    reasons, left_out = (result.meta.get(key, {}) for key in ("reasons", "left_out"))
    return Estimate.refuse(str(reasons.get(f"{kind}_{name}") or left_out.get(name) or found.reason))


def differences(
    method: Group, control: Group, sets: Sequence[str], smallest: float | None = None
) -> dict[str, Difference]:
    """Give by set the difference of the retention from the control's, paired by seed and corrected over the sets.

    ``smallest`` is the smallest difference that matters: with it, smaller ones can be shown to be equal. A refused
    difference counts in the correction all the same.
    """
    found = [_difference(method, control, name, smallest) for name in sets]
    return dict(zip(sets, family(found), strict=True))


def index(method: Group, control: Group, teacher: Result | None, name: str) -> Estimate:
    """Give the transfer index of the retention on a set, with Fieller's interval over seeds."""
    if teacher is None:
        return Estimate.refuse("it has no teacher that answers")
    ours, theirs, reason = _pairs(method, control, name)
    if reason:
        return Estimate.refuse(reason)
    taught = number(teacher, SCORE, name)
    if taught.refused:
        return Estimate.refuse(f"teacher: {taught.reason}")
    return transfer_index([one.value for one in ours.values()], [one.value for one in theirs.values()], taught.value)


def _difference(method: Group, control: Group, name: str, smallest: float | None) -> Difference:
    ours, theirs, reason = _pairs(method, control, name)
    if reason:
        return Difference(Estimate.refuse(reason), 1.0, smallest=smallest, equal_p=None if smallest is None else 1.0)
    own, other = ([one.value for one in side.values()] for side in (ours, theirs))
    return difference(own, other, noise=_noise(method, control, list(ours), name), smallest=smallest)


def _pairs(method: Group, control: Group, name: str) -> tuple[dict[int, Estimate], dict[int, Estimate], str]:
    """The retention of method and control by seed, of the seeds that both have, and why there is none."""
    ours, theirs = answered(method), answered(control)
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return {}, {}, f"{method.label} and {control.label} have no seed in common"
    sides = [{seed: number(of[seed], SCORE, name) for seed in seeds} for of in (ours, theirs)]
    whose = (("", sides[0]), (f"{control.label}: ", sides[1]))
    reason = next((f"{who}{lack}" for who, side in whose if (lack := _lack(side))), "")
    return sides[0], sides[1], reason


def _lack(each: Mapping[int, Estimate]) -> str:
    """Why a mean over seeds is refused: the reason of the first seed without a number."""
    return next((f"seed {seed}: {one.reason}" for seed, one in each.items() if one.refused), "")


def _noise(method: Group, control: Group, seeds: Sequence[int], name: str) -> float:
    """The noise of the images, a floor for that of the seeds; 0 where the answers to the same images are not known."""
    sides = [[paired_answers(answered(group)[seed], name) for seed in seeds] for group in (method, control)]
    known = [one for side in sides for one in side if one is not None]
    if len(known) < 2 * len(seeds) or len({one[0].shape for one in known}) != 1:
        return 0.0
    stress, clean = ([np.stack([one[part] for one in side if one is not None]) for side in sides] for part in (0, 1))
    return retention_noise(stress[0], clean[0], stress[1], clean[1], _classes(answered(method)[seeds[0]]))


def paired_answers(result: Result, name: str) -> tuple[Right, Right] | None:
    """Give which images of a set, and which of the same images unchanged, are answered right, both ``(n,)``.

    None if the clean images are others, as where the data draws the set itself: then the retention does not follow.
    """
    stress, clean = result.arrays.get(f"right_{name}"), result.arrays.get("right")
    if stress is None or clean is None or stress.shape[-1] != len(clean):
        return None
    kept = stress[-1] >= 0
    one, other = stress[-1][kept] == 1, clean[kept].astype(bool)
    floor = 1 / _classes(result)
    if not kept.any() or other.mean() == floor:
        return None
    follows = (one.mean() - floor) / (other.mean() - floor)
    return (one, other) if math.isclose(follows, number(result, SCORE, name).value, abs_tol=1e-6) else None


def _classes(result: Result) -> int:
    return int(result.meta["classes"])


def _names(methods: Sequence[Group], teachers: Mapping[str, Result], taken: dict[str, Result]) -> dict[str, str]:
    """What rows call the teachers, by method; another network of the same name is told apart by its method.

    ``taken`` are the names that the page has so far; those found here are added.
    """
    found = {}
    for one in methods:
        if one.label not in teachers:
            continue
        own, name = teachers[one.label], f"teacher {one.one('teacher')}"
        name = name if taken.get(name, own) is own else f"{name} of {one.label}"
        taken[name], found[one.label] = own, name
    return found
