"""Forest plot: methods in rows, a panel for each number, and groups (kinds of student) side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.report.rows import arm, offsets, row_axes
from kdbias.report.style import QUIET, REFERENCE, canvas, heading, look, styled
from kdbias.stats import Estimate

Groups = Mapping[str, Mapping[str, Sequence[Estimate]]]


@dataclass(frozen=True)
class Measure:
    """One panel of a forest plot.

    ``label`` names the number with its unit, ``scale`` multiplies it, ``references`` are values of reference lines, and
    ``limits`` bound the axis; intervals that reach farther are cut off there.
    """

    label: str
    scale: float = 1.0
    references: Sequence[float] = ()
    limits: tuple[float, float] | None = None


def forest(
    groups: Groups,
    measures: Sequence[Measure],
    *,
    title: str = "",
    rows: Sequence[str] = (),
    sections: Sequence[int] = (),
) -> Figure:
    """Draw ``groups[group][row]``, an Estimate for each measure; a refused one becomes a dash at the left edge.

    ``rows`` sets the order of rows; the default is that of the groups. ``sections`` are the numbers of rows above which
    a line separates kinds of rows.

    Raises:
        ValueError: there is no row, a row is missing in ``rows``, or its Estimates do not match the measures.
    """
    there = list(dict.fromkeys(row for group in groups.values() for row in group))
    rows = rows or there
    if not there or not measures:
        raise ValueError("nothing to draw: no row, or no measure")
    if missing := [row for row in there if row not in rows]:
        raise ValueError(f"the order of rows lacks {', '.join(missing)}")
    for group in groups.values():
        for row, found in group.items():
            if len(found) != len(measures):
                raise ValueError(f"row {row!r} has {len(found)} estimates for {len(measures)} measures")
    with styled():
        figure, cells = canvas(1, len(measures), width=1.3 + 2.7 * len(measures), height=1.2 + 0.25 * len(rows))
        panels: list[Axes] = list(np.atleast_1d(cells))
        for place, (axes, measure) in enumerate(zip(panels, measures, strict=True)):
            _frame(axes, measure, rows if place == 0 else [""] * len(rows), sections)
            for number, (group, offset) in enumerate(zip(groups.values(), offsets(len(groups)), strict=True)):
                for row, found in group.items():
                    _number(axes, measure, found[place], rows.index(row) + offset, look(number))
        for number, name in enumerate(groups):
            panels[0].plot([], [], **{**look(number), "linestyle": "none"}, label=name, markersize=4.5)
        figure.legend(loc="outside lower center", ncols=len(groups))
        if title:
            heading(figure, title)
    return figure


def _frame(axes: Axes, measure: Measure, labels: Sequence[str], sections: Sequence[int]) -> None:
    row_axes(axes, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(measure.label)
    for value in measure.references:
        axes.axvline(measure.scale * value, **REFERENCE)
    for row in sections:
        axes.axhline(row - 0.5, color=QUIET, linewidth=0.6, linestyle=(0, (1, 2)))
    if measure.limits is not None:
        axes.set_xlim(measure.scale * measure.limits[0], measure.scale * measure.limits[1])


def _number(axes: Axes, measure: Measure, found: Estimate, row: float, style: Mapping[str, Any]) -> None:
    if found.refused:
        across = axes.get_yaxis_transform()
        axes.text(0.015, row, "–", transform=across, color=style["color"], fontsize=8, va="center")
    arm(axes, found, row, style, measure.scale)
