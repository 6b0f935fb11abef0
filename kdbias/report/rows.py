"""Figures with networks in rows: the axes, the positions of seeds in a row, and a number with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from kdbias.report.style import QUIET, REFERENCE
from kdbias.stats import Estimate

SPREAD = 0.2  # rows, from the middle of one to its first and last seed
SIDES: Mapping[str, Mapping[str, Any]] = {
    "above": {"xytext": (0, 2), "ha": "center", "va": "bottom"},
    "left": {"xytext": (-3, -2), "ha": "right", "va": "top"},
    "right": {"xytext": (3, -2), "ha": "left", "va": "top"},
}


def row_axes(axes: Axes, labels: Sequence[str]) -> None:
    """Give each label a row, the first at the top, with vertical grid lines."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def offsets(count: int, spread: float = SPREAD) -> npt.NDArray[np.float64]:
    """Give the vertical positions ``(count,)`` of numbers relative to the middle of their row, in rows."""
    return np.linspace(-spread, spread, count) if count > 1 else np.zeros(1)


def arm(axes: Axes, found: Estimate, row: float, style: Mapping[str, Any], scale: float = 1.0) -> None:
    """Draw a number with its interval, if it has one; a refused number is left out."""
    if found.refused:
        return
    arms = None
    if not math.isnan(found.low):
        arms = scale * np.array([[found.value - found.low], [found.high - found.value]])
    axes.errorbar(
        scale * found.value,
        row,
        xerr=arms,
        fmt=style["marker"] or "o",
        color=style["color"],
        markerfacecolor=style.get("markerfacecolor", style["color"]),
        markersize=4.5,
        linewidth=1.1,
        capsize=2,
    )


def percent_row_axis(axes: Axes) -> None:
    """Let the x axis, of shares in percent, end at 0 and 100 where it would go beyond.

    A mark at an end is drawn whole. An interval that goes beyond is cut there: a t interval knows no bounds.
    """
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0.0), min(high, 100.0))
    for artist in axes.get_children():
        if isinstance(artist, Line2D) and np.all(np.abs(np.asarray(artist.get_xdata(), float) - 50) <= 50):
            artist.set_clip_on(False)


def named_value(axes: Axes, value: float, text: str, side: Literal["above", "left", "right"] = "above") -> None:
    """Draw a vertical line at ``value``, with its name above the axes or, inside them, to its left or right."""
    axes.axvline(value, **REFERENCE)
    across: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(text, (value, 1.0), color=QUIET, fontsize=7.5, **across, **SIDES[side])
