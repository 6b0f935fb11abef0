"""Figures of bias transfer: a map of the differences from the control, and a forest plot of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from kdbias.report.bias_tables import Transfer
from kdbias.report.images import bare, colour_bar
from kdbias.report.rows import arm, offsets, row_axes
from kdbias.report.style import QUIET, REFERENCE, canvas, heading, look, styled
from kdbias.stats import Difference

COLOURS = "RdBu_r"
NAME = 28  # letters of a name in one line
FAINT = "#e6e6e6"
TITLE = "retention: method - control, mean over seeds"
Row = tuple[str, str, dict[str, Difference]]


def figures(found: Transfer) -> dict[str, Figure]:
    """Draw the map and the forest plot, by file name; none without a method that has a control."""
    rows = [row for row in found.compared() if row[2]]
    if not rows:
        return {}
    return {"bias_map": difference_map(rows, found.sets), "bias_forest": difference_forest(rows)}


def difference_map(rows: Sequence[Row], sets: Sequence[str]) -> Figure:
    """Draw methods × sets, coloured where a difference is shown after Holm's correction.

    The other cells are hatched and say "no difference shown", or "equal" where that is shown. Those without a number
    say "refused", or "-" if the set was not measured.
    """
    values = np.full((len(rows), len(sets)), math.nan)
    for place, (_, _, own) in enumerate(rows):
        for name, one in own.items():
            values[place, sets.index(name)] = one.estimate.value if one.shown else math.nan
    reach = max(0.1, math.ceil(10 * float(np.nanmax(np.abs(values), initial=0.0)) - 1e-9) / 10)
    with styled():
        names = [fill(label, NAME) for label, _, _ in rows]
        aside = 0.075 * max(len(line) for name in names for line in name.split("\n"))
        figure, axes = canvas(width=1.3 + aside + 0.78 * len(sets), height=1.5 + 0.42 * len(rows))
        bare(axes, ticks=True)
        image = axes.imshow(values, vmin=-reach, vmax=reach, cmap=COLOURS, interpolation="nearest", aspect="auto")
        for place, (_, _, own) in enumerate(rows):
            for column, name in enumerate(sets):
                _cell(axes, (column, place), own.get(name), dark=abs(values[place, column]) > 0.6 * reach)
        axes.set_xticks(range(len(sets)), [name.replace("_", "\n") for name in sets])
        axes.set_yticks(range(len(rows)), names)
        for place in range(1, len(rows)):
            if rows[place][1] != rows[place - 1][1]:
                axes.axhline(place - 0.5, color=QUIET, linewidth=1.2)
        colour_bar(figure, image, [axes], "method - control")
        heading(figure, f"{TITLE}; coloured: shown after Holm over the sets of a row")
    return figure


def difference_forest(rows: Sequence[Row]) -> Figure:
    """Draw the difference with its interval for each set and method, a panel for each control.

    A filled mark is a difference that is shown after Holm's correction, a hollow one is not; a dash is refused.
    """
    by_control: dict[str, list[Row]] = {}
    for row in rows:
        by_control.setdefault(row[1], []).append(row)
    most, sets = max(map(len, by_control.values())), max(len(row[2]) for row in rows)
    tall = (0.14 * most + 0.12) * sets  # of the axes, in inches
    below = {control: fill(f"method - {control}", NAME + 12) for control in by_control}
    deep = 0.3 + 0.15 * max(text.count("\n") + 1 for text in below.values())  # from the axes to the legend
    with styled():
        size = {"width": 1.6 + 3.4 * len(by_control), "height": 0.75 + deep + 0.16 * most + tall}
        figure, cells = canvas(1, len(by_control), squeeze=False, **size)
        for axes, (control, own) in zip(cells[0], by_control.items(), strict=True):
            names = list(own[0][2])
            row_axes(axes, names)
            axes.tick_params(axis="y", length=0)
            axes.axvline(0.0, **REFERENCE)
            for edge in range(1, len(names)):
                axes.axhline(edge - 0.5, color=FAINT, linewidth=0.6)
            for number, ((_, _, found), offset) in enumerate(zip(own, offsets(len(own), 0.36), strict=True)):
                _marks(axes, found, names, offset, number)
            axes.set_xlabel(below[control])
            if all(one.estimate.refused for _, _, found in own for one in found.values()):
                axes.set_xlim(-1, 1)
            axes.legend(handles=_legend(own), loc="upper center", bbox_to_anchor=(0.5, -deep / tall), ncols=2)
        heading(figure, f"{TITLE}, 95 % interval; filled: shown after Holm over the sets; hollow: no difference shown")
    return figure


def _cell(axes: Axes, where: tuple[int, int], one: Difference | None, *, dark: bool) -> None:
    """Write the number or the verdict into a cell, and hatch it where no difference is shown."""
    if one is not None and one.shown:
        # black, not the ink of the style, which turns light on a dark page
        ink = "white" if dark else "black"
        axes.text(*where, f"{one.estimate.value:+.2f}", ha="center", va="center", fontsize=7.5, color=ink)
        return
    text = "-" if one is None else "refused" if one.estimate.refused else one.verdict.replace("shown", "\nshown")
    if one is not None and not one.estimate.refused:
        corner, hatched = (where[0] - 0.5, where[1] - 0.5), {"hatch": "////", "edgecolor": FAINT, "linewidth": 0.0}
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", **hatched))  # type: ignore[arg-type]
    axes.text(*where, text, ha="center", va="center", fontsize=5.8, color=QUIET)


def _marks(axes: Axes, found: Mapping[str, Difference], names: Sequence[str], offset: float, number: int) -> None:
    for place, name in enumerate(names):
        one = found[name]
        style = look(number)
        if one.estimate.refused:
            across = axes.get_yaxis_transform()
            axes.text(0.012, place + offset, "–", transform=across, color=style["color"], fontsize=8, va="center")
        arm(axes, one.estimate, place + offset, style if one.shown else {**style, "markerfacecolor": "white"})


def _legend(own: Sequence[Row]) -> list[Line2D]:
    return [
        Line2D([], [], **{**look(number), "linestyle": "none"}, markersize=4.5, label=fill(label, NAME))
        for number, (label, _, _) in enumerate(own)
    ]
