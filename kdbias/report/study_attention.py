"""The section of a study on attention: how far away the layers of its transformers look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbias.probes.base import Result
from kdbias.report.attention import distance_by_layer
from kdbias.report.estimate_text import format_difference
from kdbias.report.page import Image, Panel, Part
from kdbias.report.study_results import StudyResults, unlike
from kdbias.stats import Difference, difference, family

PROBE = "attention"
CONTROL, UNTRAINED = "control", "untrained"
WIDTH, HEIGHT, MOST = 4.4, 3.0, 6  # inches, and networks whose names stand beside their lines
SAID = 4  # groups that are named in a sentence whatever they show


def attention_parts(found: StudyResults) -> list[Part]:
    """Give the mean distances in words and the distances of all layers as a figure; nothing if none was measured."""
    groups = {group.label: list(group.results.get(PROBE, {}).values()) for group in found.groups}
    groups = {label: results for label, results in groups.items() if results}
    if not groups:
        return []
    control, untrained = groups.get(CONTROL), found.beside.get(PROBE, {}).get(UNTRAINED)
    figure = distance_by_layer(
        {label: results for label, results in groups.items() if label != CONTROL},
        control=control,
        initial=untrained,
        width=WIDTH if len(groups) < MOST else 1.5 * WIDTH,
        height=HEIGHT,
    )
    lines = [*groups.items(), *([] if untrained is None else [(unlike(UNTRAINED, groups), [untrained])])]
    uniform = float(next(iter(groups.values()))[0].arrays["uniform_distance"])
    says = "; ".join(f"{label} {_by_layer(results)}" for label, results in lines)
    caption = (
        "Mean attention distance of each layer, in patches, on the same images. A band goes from the lowest to the "
        "highest seed. The axis is drawn around the line of uniform attention, not from 0."
    )
    alt = f"Lines: mean attention distance of each layer, from the first to the last. {says}. Uniform: {uniform:.2f}."
    return [attention_sentence(found), Image([Panel(figure, alt)], caption)]


def attention_sentence(found: StudyResults) -> str:
    """Compare the mean attention distance of each group with its control's, the untrained network and uniformity.

    The differences are one family: their p values are corrected for their number (Holm). Of more than four
    groups, controls included, those that show no difference are left to the table.
    """
    apart = distances_apart(found)
    measured = [group for group in found.groups if group.results.get(PROBE)]
    several = len(measured) > SAID
    alike = [label for label, one in apart.items() if not one.shown and several]
    said = []
    for group in measured:
        own = group.results[PROBE]
        if group.label in alike:
            continue
        text = f"{group.label} attends {_mean(list(own.values())):.2f} patches away on average"
        control = found.control_of(group)
        if control is not None and own.keys() & control.results.get(PROBE, {}).keys():
            one = apart.get(group.label)
            shown = "one seed decides nothing" if one is None else format_difference(one, digits=2)
            text += f" (against {control.label}: {shown})" if one is not None or not several else ""
        said.append(text)
    beside = found.beside.get(PROBE, {}).get(UNTRAINED)
    first = next(result for group in found.groups for result in group.results.get(PROBE, {}).values())
    if beside is not None:
        said.append(f"the untrained network is at {beside.scalars['distance']:.2f}")
    said.append(f"uniform attention is at {float(first.arrays['uniform_distance']):.2f}")
    if alike:
        whom = f"any of {len(apart)} groups" if len(alike) == len(apart) else ", ".join(alike)
        said.append(f"for {whom} no difference from its control is shown")
    corrected = f" Differences are corrected over the {len(apart)} groups (Holm)." if len(apart) > 1 else ""
    return f"Over all layers: {'; '.join(said)}.{corrected}"


def distances_apart(found: StudyResults) -> dict[str, Difference]:
    """The difference of each group that shares two seeds or more with its control, corrected over these groups."""
    apart = distances_uncorrected(found)
    return dict(zip(apart, family(list(apart.values())), strict=True))


def distances_uncorrected(found: StudyResults) -> dict[str, Difference]:
    """The same differences, each by itself, for a table, which corrects its columns."""
    apart: dict[str, Difference] = {}
    for group in found.groups:
        control = found.control_of(group)
        own, other = group.results.get(PROBE, {}), {} if control is None else control.results.get(PROBE, {})
        seeds = sorted(own.keys() & other.keys())
        if len(seeds) > 1:
            ours, theirs = ([of[seed].scalars["distance"] for seed in seeds] for of in (own, other))
            apart[group.label] = difference(ours, theirs)
    return apart


def _mean(results: Sequence[Result]) -> float:
    return float(np.mean([result.scalars["distance"] for result in results]))


def _by_layer(results: Sequence[Result]) -> str:
    depth = min(len(result.arrays["distance"]) for result in results)
    layers = np.mean([result.arrays["distance"][:depth].mean(1) for result in results], axis=0)
    return ", ".join(f"{value:.2f}" for value in layers)
