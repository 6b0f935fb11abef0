"""Networks in rows, a number of each with its interval, beside the control's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.bands import Runs, counted
from kdbias.report.style import CONTROL, INITIAL, QUIET, canvas, look, seeds, styled
from kdbias.stats import Estimate

SPREAD = 0.22  # rows, from the first seed to the last


@dataclass(frozen=True)
class Panel:
    """One number: how it is found in a Result, what it is called (with its unit), what it is multiplied by, and the
    values that reference lines go through.
    """

    label: str
    value: Callable[[Result], Estimate]
    scale: float = 1.0
    references: Mapping[str, float] | None = None


def dot_panels(
    results: Mapping[str, Runs], panels: Sequence[Panel], *, control: str | None, initial: str | None, title: str
) -> Figure:
    """Draw the panels beside each other, a row for each network; a seed is a dot with its 95 % interval over images.

    A broken line goes through the mean of the control. An estimate that is refused is left out.

    Raises:
        ValueError: there is no network.
    """
    if not results:
        raise ValueError("nothing to draw: no Result")
    with styled():
        height = 1.15 + 0.4 * len(results)
        width = 0.9 + 0.07 * max(map(len, results)) + 1.9 * len(panels)
        figure, cells = canvas(1, len(panels), width=width, height=height, squeeze=False)
        for axes, panel in zip(cells[0], panels, strict=True):
            _draw(axes, panel, results, styles(results, control, initial), control)
            axes.set_yticks(range(len(results)), [""] * len(results))
            axes.set_ylim(len(results) - 0.5, -0.5)
            axes.set_xlabel(panel.label)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
        labels = [counted(name, len(seeds(runs, Result))) for name, runs in results.items()]
        cells[0][0].set_yticks(range(len(results)), labels)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure


def styles(results: Mapping[str, Runs], control: str | None, initial: str | None) -> dict[str, Mapping[str, Any]]:
    """Give each network its look: the control's and the untrained one's own, colours in order to the others."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in results:
        place = len(found.keys() - {control, initial})
        found[name] = CONTROL if name == control else INITIAL if name == initial else look(place)
    return found


def known(value: float, reason: str = "no interval is computed") -> Estimate:
    """Give a number without an interval; refused where it is NaN."""
    return Estimate(value, math.nan, math.nan, reason)


def _draw(
    axes: Axes, panel: Panel, results: Mapping[str, Runs], looks: Mapping[str, Mapping[str, Any]], control: str | None
) -> None:
    for text, value in (panel.references or {}).items():
        axes.axvline(panel.scale * value, color=QUIET, linewidth=0.9, zorder=1)
        axes.annotate(
            text,
            (panel.scale * value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            color=QUIET,
            fontsize=7,
        )
    for place, (name, runs) in enumerate(results.items()):
        found = [panel.value(run) for run in seeds(runs, Result)]
        shown = [each for each in found if not each.refused]
        rows = place + (np.linspace(-SPREAD, SPREAD, len(found)) if len(found) > 1 else np.zeros(1))
        for row, each in zip(rows, found, strict=True):
            if not each.refused:
                _dot(axes, panel.scale, each, row, looks[name])
        if shown and name == control:
            mean = panel.scale * float(np.mean([each.value for each in shown]))
            axes.axvline(mean, color=CONTROL["color"], linestyle=CONTROL["linestyle"], linewidth=0.8, zorder=1)


def _dot(axes: Axes, scale: float, each: Estimate, row: float, style: Mapping[str, Any]) -> None:
    arms = None
    if not math.isnan(each.low):
        arms = scale * np.array([[each.value - each.low], [each.high - each.value]])
    axes.errorbar(
        scale * each.value,
        row,
        xerr=arms,
        fmt=style["marker"] or "o",
        color=style["color"],
        markerfacecolor=style.get("markerfacecolor", style["color"]),
        markersize=4.5,
        linewidth=1.1,
        capsize=2,
    )
