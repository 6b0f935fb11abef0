"""Rows of stress sets or cues, with a mark for each network, and the numbers of a ``BiasProbe``'s Result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.networks import Array, NetworkLines
from kdbias.report.rows import arm, offsets, row_axes
from kdbias.stats import Estimate

Number = Callable[[Result, str], Estimate]
"""From a Result and the label of a row to its number; refused if the Result has none."""


@dataclass(frozen=True)
class Rows:
    """The rows of one panel: their labels, the number behind each, and what it is multiplied by."""

    labels: Sequence[str]
    numbers: Sequence[Number]
    scale: float = 1.0


def draw_rows(axes: Axes, found: Sequence[NetworkLines], rows: Rows, *, labelled: bool = True) -> None:
    """Draw a mark with its interval for each seed of each network in each row; a refused number is left out."""
    row_axes(axes, rows.labels if labelled else [""] * len(rows.labels))
    beside = [(network, run) for network in found for run in network.runs]
    for place, (label, number) in enumerate(zip(rows.labels, rows.numbers, strict=True)):
        for (network, run), offset in zip(beside, offsets(len(beside), 0.3), strict=True):
            arm(axes, number(run, label), place + offset, network.style, rows.scale)


def legend(figure: Figure, found: Sequence[NetworkLines]) -> None:
    """Name the networks below the panels."""
    axes = figure.axes[0]
    for network in found:
        style = {"marker": "o", **network.style, "linestyle": "none"}
        axes.plot([], [], label=network.counted, **{**style, "marker": style["marker"] or "o"})
    figure.legend(loc="outside lower center", ncols=min(4, len(found)))


def last_versions(result: Result) -> dict[str, int]:
    """Give the number of the version at the highest strength of each set, by name; corruptions are left out."""
    return {one["set"]: place for place, one in enumerate(result.meta["versions"]) if not one["kind"]}


def by_set(score: str) -> Number:
    """Give how to find a score of the set that a row names; ``clean`` is the unchanged images, for accuracy alone."""

    def number(result: Result, name: str) -> Estimate:
        if name == "clean":
            return estimate("accuracy")(result, name) if score == "accuracy" else _none(name)
        place = last_versions(result).get(name)
        if place is None:
            return _none(name)
        key = f"version_{score}"
        return _known(float(result.arrays[key][place]), result.arrays[f"{key}_interval"][place])

    return number


def estimate(key: str) -> Number:
    """Give how to find a scalar with its interval, whatever the row is called."""

    def number(result: Result, label: str) -> Estimate:
        if key not in result.scalars:
            return _none(key)
        return _known(result.scalars[key], result.arrays[f"{key}_interval"])

    return number


def _known(value: float, bounds: Array) -> Estimate:
    low, high = (float(bound) for bound in bounds)
    if not math.isfinite(low) or not math.isfinite(high):
        low = high = math.nan
    return Estimate(value, low, high, "" if math.isfinite(value + low) else "it has no number or no interval")


def _none(name: str) -> Estimate:
    return Estimate.refuse(f"{name} was not measured")
