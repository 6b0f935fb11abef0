"""The verdict of each hypothesis, from the scores of the runs by seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdbias.analysis.study_node import Hypothesis, Measure
from kdbias.probes.base import Result
from kdbias.report.curves import by_epoch, read_metrics
from kdbias.report.group import noise_of_images
from kdbias.report.judged import Judged
from kdbias.stats import Difference, Estimate, difference, family, smallest_shown
from kdbias.stats.seeds import standard_error

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A measure of one run; ``right`` is which images it answers right, where the measure is its accuracy."""

    value: float
    right: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Scores:
    """The scores of a measure by group and seed; ``why`` says for a group why scores are missing."""

    by_group: Mapping[str, Mapping[int, Score]]
    why: Mapping[str, str] = field(default_factory=dict)


def score(measure: Measure, folder: Path, results: Mapping[str, Result]) -> Score:
    """Give a run's score from its Results, or from its ``metrics.csv`` for a measure at a part of the training.

    Raises:
        ValueError: the run has no such number, and the message says what it has; or the number is not finite.
    """
    if measure.part is not None:
        return Score(_during(measure, folder, measure.part))
    found = results.get(measure.probe)
    if found is None or found.refused:
        raise ValueError(found.refused if found is not None else f"no Result of the probe {measure.probe}")
    if measure.layers is not None:
        return Score(_finite(measure, _layers(measure, found, measure.layers)))
    if measure.key not in found.scalars:
        raise ValueError(f"the probe {measure.probe} has no {measure.key!r}; it has {', '.join(found.scalars)}")
    value = _finite(measure, found.scalars[measure.key])
    return Score(value, found.arrays.get("right") if measure.key == "accuracy" else None)


def _finite(measure: Measure, value: float) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{measure.text} is not a number for one of its runs")
    return value


def judged(claims: Sequence[Hypothesis], scores: Mapping[str, Scores]) -> list[Judged]:
    """Judge hypotheses together; ``scores`` are those of each measure by its text.

    A hypothesis without numbers counts in the correction all the same, because the study stated it.
    """
    differences, sds, counts = [], [], []
    for one in claims:
        found, sd, seeds = _tested(one, scores)
        differences.append(found)
        sds.append(sd)
        counts.append(seeds)
    corrected = family([_for_family(one) for one in differences])
    return [
        Judged(
            one.name,
            one.says,
            one.measure.text,
            f"{' - '.join(one.of)} against {'' if one.times == 1 else f'{one.times:g} · '}{' - '.join(one.than)}",
            one.direction,
            one.smallest,
            one.seeds,
            seeds,
            found,
            None if sd is None else smallest_shown(sd, seeds, tests=len(claims), equal=one.direction == "equal"),
            one.measure.percent,
            one.sd,
        )
        for one, found, sd, seeds in zip(claims, corrected, sds, counts, strict=True)
    ]


def _for_family(one: Difference) -> Difference:
    return one if one.equal_p is not None else replace(one, equal_p=1.0, larger_p=1.0)


def _tested(one: Hypothesis, scores: Mapping[str, Scores]) -> tuple[Difference, float | None, int]:
    """The difference of a hypothesis, the standard deviation of its pairs (None without noise), and their number."""
    if reason := _unlike(one, scores):
        return Difference(Estimate.refuse(reason), 1.0, smallest=one.smallest), None, len(_seeds(one, scores))
    of, seeds = scores[one.measure.text], _seeds(one, scores)
    if not seeds:
        why = next(
            (of.why[group] for group in (*one.of, *one.than) if group in of.why), "no seed is done in all groups"
        )
        return Difference(Estimate.refuse(why), 1.0, smallest=one.smallest), None, 0
    ours, theirs = (_side(of, groups, seeds) for groups in (one.of, one.than))
    noise = _noise(of, one, seeds)
    found = difference(ours, one.times * theirs, noise=noise, smallest=one.smallest)
    error = standard_error(ours - one.times * theirs, noise)
    return found, None if math.isnan(found.estimate.low) else error * len(seeds) ** 0.5, len(seeds)


def _unlike(one: Hypothesis, scores: Mapping[str, Scores]) -> str:
    """Why the groups cannot be compared: another number, such as the loss, differs too much; empty if they can."""
    if one.matched is None:
        return ""
    of, groups, seeds = scores[one.matched.text], [*one.of, *one.than], _seeds(one, scores)
    if lacking := sorted(set(seeds) - set(_common(of, groups))):
        return f"{one.matched.text} is not known for seed {', '.join(map(str, lacking))} of all groups"
    means = [float(np.mean([of.by_group[group][seed].value for seed in seeds])) for group in groups if seeds]
    if not means or max(means) - min(means) <= one.within:
        return ""
    *others, last = (f"{mean:.3g}" for mean in means)
    return f"not comparable: {one.matched.text} is {', '.join(others)} and {last}, more than {one.within:g} apart"


def _seeds(one: Hypothesis, scores: Mapping[str, Scores]) -> list[int]:
    """The seeds for which all groups have the measure."""
    return _common(scores[one.measure.text], [*one.of, *one.than])


def _common(of: Scores, groups: Sequence[str]) -> list[int]:
    known = [set(of.by_group.get(group, {})) for group in groups]
    return sorted(set.intersection(*known))


def _side(of: Scores, groups: Sequence[str], seeds: Sequence[int]) -> Floats:
    values = [np.array([of.by_group[group][seed].value for seed in seeds]) for group in groups]
    return values[0] - values[1] if len(values) > 1 else values[0]


def _noise(of: Scores, one: Hypothesis, seeds: Sequence[int]) -> float:
    """The noise of the images, a floor for that of the seeds; 0 for measures that are not an accuracy."""
    if len(one.of) != 1 or len(one.than) != 1:
        return 0.0
    ours, theirs = ([of.by_group[group][seed].right for seed in seeds] for group in (one.of[0], one.than[0]))
    return noise_of_images(ours, theirs)


def _during(measure: Measure, folder: Path, part: float) -> float:
    """The value of a logged metric at the last validation within the first ``part`` of the epochs."""
    path = folder / "metrics.csv"
    if not path.is_file():
        raise ValueError(f"{folder} has no metrics.csv: train with logger=[csv]")
    metrics, name = read_metrics(path), re.sub(r"@.*", "", measure.text)
    epochs, values = by_epoch(metrics, name)
    if not len(epochs):
        raise ValueError(f"{measure.text} is not a number for one of its runs")
    last = float(np.nanmax(metrics["epoch"])) + 1
    within = epochs <= part * last + 1e-9
    if not within.any():
        raise ValueError(f"{name} was first measured after epoch {epochs[0]:.0f} of {last:.0f}: set trainer.val_every")
    return float(values[within][-1])


def _layers(measure: Measure, found: Result, layers: tuple[int, int]) -> float:
    array = found.arrays.get(measure.key)
    if array is None or array.ndim < 1 or array.shape[0] <= layers[1]:
        has = "no such array" if array is None else f"{array.shape[0] if array.ndim else 1} layers"
        raise ValueError(f"{measure.text}: the probe {measure.probe} has {has}")
    return float(np.asarray(array[layers[0] : layers[1] + 1], dtype=np.float64).mean())
