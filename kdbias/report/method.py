"""A method of several seeds: its scores, and its differences from another method over images and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.stats import (
    Difference,
    Estimate,
    accuracy,
    bootstrap_mean,
    difference,
    image_noise,
    transfer_index_images,
)

NOT_MEASURED = "-"


@dataclass(frozen=True)
class Method:
    """The Results of a method, as lists with one entry for each seed; a list is empty if nothing was measured.

    ``seeds`` are those of the accuracy Results, None for a network without a seed. ``images`` is equal for methods
    that were measured on the same images. ``teacher`` names the teacher. ``taught_by`` holds its accuracy Result for
    each seed, None if it was not measured. ``published`` holds the earlier study's numbers for such a run.
    ``untrained`` marks networks before training.
    """

    label: str
    seeds: Sequence[int | None]
    images: str
    accuracy: Sequence[Result] = ()
    attention: Sequence[Result] = ()
    cka: Sequence[Result] = ()
    hessian: Sequence[Result] = ()
    teacher: str | None = None
    taught_by: Sequence[Result | None] = ()
    published: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False

    @cached_property
    def right(self) -> npt.NDArray[np.float64]:
        """Which answers are right, ``(seeds, n)``."""
        return np.stack([result.arrays["right"] for result in self.accuracy]).astype(np.float64)

    @property
    def score(self) -> Estimate | str:
        """Accuracy as the mean over seeds, with its interval over images."""
        if not self.accuracy:
            return NOT_MEASURED
        one = len(self.accuracy) == 1
        return accuracy(self.accuracy[0].arrays["right"]) if one else bootstrap_mean(self.right.mean(0))

    @property
    def teacher_score(self) -> Estimate | str:
        """The teacher's accuracy with its interval over images; the mean if the seeds had different teachers."""
        known = [result for result in self.taught_by if result is not None]
        if not known:
            return NOT_MEASURED
        if all(result is known[0] for result in known):
            return accuracy(known[0].arrays["right"])
        return bootstrap_mean(np.mean([result.arrays["right"] for result in known], axis=0))

    @property
    def efficiency(self) -> Estimate | str:
        """Accuracy divided by the teacher's on the same images, with its interval over images."""
        taught_by = self.taught_by or [None] * len(self.accuracy)  # nothing is known of a teacher
        pairs = [(one, other) for one, other in zip(self.accuracy, taught_by, strict=True) if other is not None]
        if not pairs or len(pairs) != len(self.accuracy) or not all(_same(one, other) for one, other in pairs):
            return NOT_MEASURED
        right = self.right.mean(0)
        taught = np.mean([other.arrays["right"] for _, other in pairs], axis=0)
        return transfer_index_images(right, np.zeros_like(right), taught)  # with a control of 0 it is the quotient


def over_images(one: Method, other: Method) -> Difference | str:
    """Give the difference of two methods' accuracies, paired by image: means over the seeds that both have.

    If they have no seed in common, the means are over all runs of each.
    """
    if not _comparable(one, other):
        return NOT_MEASURED
    pairs = paired(one, other) or [(i, j) for i in range(len(one.accuracy)) for j in range(len(other.accuracy))]
    first, second = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    return difference(one.right[first].mean(0), other.right[second].mean(0), over="images")


def over_seeds(one: Method, other: Method) -> Difference | Estimate | str:
    """Give the same difference paired by seed, over the seeds that both have; refused if they have none in common."""
    if not _comparable(one, other):
        return NOT_MEASURED
    pairs = paired(one, other)
    if not pairs:
        return Estimate.refuse(f"runs are paired by their seeds: {_unpaired(one, other)}")
    ours, theirs = one.right[[i for i, _ in pairs]], other.right[[j for _, j in pairs]]
    return difference(ours.mean(1), theirs.mean(1), noise=image_noise(ours, theirs))


def paired(one: Method, other: Method) -> list[tuple[int, int]]:
    """Give the places of the seeds that two methods have in common; none if a method has one of them twice."""
    places = {seed: place for place, seed in enumerate(other.seeds) if seed is not None}
    if _twice(one) or _twice(other):
        return []
    return [(place, places[seed]) for place, seed in enumerate(one.seeds) if seed in places]


def pairing(compared: Sequence[tuple[Method, Method]]) -> str:
    """Say in one sentence over which runs the methods of each pair are compared; empty if none can be compared.

    A pair that has all seeds in common is the rule and not named. Exceptions of the same kind are named together.
    """
    ways: dict[str, dict[str, list[Method]]] = {}
    known = [(one, other) for one, other in compared if _comparable(one, other)]
    seen: set[frozenset[str]] = set()
    for one, other in known:
        way = _way(one, other)
        if way and frozenset((one.label, other.label)) not in seen:
            seen.add(frozenset((one.label, other.label)))
            ways.setdefault(way, {}).setdefault(other.label, []).append(one)
    exceptions = ""
    for way, by_other in ways.items():
        with_others: dict[str, list[str]] = {}
        for label, ones in by_other.items():
            with_others.setdefault(_listed(ones), []).append(label)
        exceptions += "".join(f"; {ones} with {_and(others)} {way}" for ones, others in with_others.items())
    return f"Differences are paired by seed{exceptions}." if known else ""


def _way(one: Method, other: Method) -> str:
    pairs = paired(one, other)
    if len(pairs) == max(len(one.accuracy), len(other.accuracy)):
        return ""
    if not pairs:
        return f"unpaired, by the means of all runs ({_unpaired(one, other)})"
    common = ", ".join(str(one.seeds[place]) for place, _ in pairs)
    return f"over seed{'s' if len(pairs) > 1 else ''} {common} alone"


def _listed(methods: Sequence[Method]) -> str:
    untrained = [method.label for method in methods if method.untrained]
    own = [method.label for method in methods if not method.untrained]
    return _and([*own, *(["the untrained networks"] if len(untrained) > 1 else untrained)])


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _unpaired(one: Method, other: Method) -> str:
    return "one has two runs of a seed" if _twice(one) or _twice(other) else "no seed in common"


def _twice(method: Method) -> bool:
    known = [seed for seed in method.seeds if seed is not None]
    return len(set(known)) < len(known)


def _comparable(one: Method, other: Method) -> bool:
    if not one.accuracy or not other.accuracy or one.images != other.images:
        return False
    return all(_same(one.accuracy[0], result) for result in (*one.accuracy, *other.accuracy))


def _same(one: Result, other: Result) -> bool:
    return all(np.array_equal(one.arrays[key], other.arrays[key]) for key in ("index", "target"))
