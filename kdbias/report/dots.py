"""Networks in rows: numbers with intervals, and the control's mean as a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.networks import Looks, Runs, counted, looks, named
from kdbias.report.rows import arm, named_value, offsets, percent_row_axis, row_axes
from kdbias.report.style import CONTROL, canvas, heading, seeds, styled
from kdbias.stats import Estimate


@dataclass(frozen=True)
class Panel:
    """One number of a figure.

    ``label`` names it with its unit, ``value`` finds it in a Result, and ``scale`` multiplies it. ``references`` are
    the values of reference lines by name.
    """

    label: str
    value: Callable[[Result], Estimate]
    scale: float = 1.0
    references: Mapping[str, float] | None = None


def dot_panels(
    results: Mapping[str, Runs], panels: Sequence[Panel], *, control: str | None, initial: str | None, title: str
) -> Figure:
    """Draw the panels side by side, with a row for each network and a dot with its interval for each seed.

    A dashed line marks the mean of the control. An estimate that is refused is left out.

    Raises:
        ValueError: there is no network.
    """
    if not results:
        raise ValueError("nothing to draw: no Result")
    with styled():
        height = 1.15 + 0.4 * len(results)
        named_results = {named(name, control, initial): runs for name, runs in results.items()}
        width = 0.9 + 0.07 * max(map(len, named_results)) + 1.9 * len(panels)
        figure, cells = canvas(1, len(panels), width=width, height=height, squeeze=False)
        labels = [counted(name, len(seeds(runs, Result))) for name, runs in named_results.items()]
        for axes, panel in zip(cells[0], panels, strict=True):
            row_axes(axes, labels if axes is cells[0][0] else [""] * len(labels))
            _draw(axes, panel, results, looks(results, control, initial), control)
            axes.set_xlabel(panel.label)
            if panel.scale == 100:
                percent_row_axis(axes)
        heading(figure, title)
    return figure


def known(value: float, reason: str = "no interval is computed") -> Estimate:
    """Give a number without an interval; refused if it is NaN."""
    return Estimate(value, math.nan, math.nan, reason)


def _draw(axes: Axes, panel: Panel, results: Mapping[str, Runs], styles: Looks, control: str | None) -> None:
    for text, value in (panel.references or {}).items():
        named_value(axes, panel.scale * value, text)
    for place, (name, runs) in enumerate(results.items()):
        found = [panel.value(run) for run in seeds(runs, Result)]
        for offset, each in zip(offsets(len(found)), found, strict=True):
            arm(axes, each, place + offset, styles[name], panel.scale)
        shown = [each.value for each in found if not each.refused]
        if shown and name == control:
            mean = panel.scale * float(np.mean(shown))
            axes.axvline(mean, color=CONTROL["color"], linestyle=CONTROL["linestyle"], linewidth=0.8, zorder=1)
