"""The names of lines at their right ends."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.container import Container
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import IdentityTransform

from kdbias.report.style import legend_beside

MOST = 6  # names beside one another; beyond, lines share colours and have a legend
LETTERS = 16  # of a line of a name
AWAY, BETWEEN = 5.0, 1.5  # points between the axes and a name, and between two names
LOOK: Mapping[str, Any] = {"ha": "left", "va": "center", "fontsize": 8, "clip_on": False}


def label_ends(axes: Axes) -> None:
    """Write the label of each line right of the axes, at the height of the line's end and in its colour.

    Names that would overlap are moved apart by as little as possible. More than six lines, or ends that cannot be
    found, have a legend instead.
    """
    lines = [handle for handle in axes.get_legend_handles_labels()[0] if not isinstance(handle, Container)]
    found = [(line, end) for line in lines if isinstance(line, Line2D) and (end := _end(line)) is not None]
    if not found or len(found) < len(lines) or len(lines) > MOST:
        legend_beside(axes)
        return
    names = [_Name(line, end) for line, end in found]
    for name in names:
        name.beside = names
        axes.add_artist(name)


class _Name(Annotation):
    """The name of ``line``, whose right end is at the height ``end``; it is placed when drawn, with those ``beside``.

    Only then limits and size of the axes are final.
    """

    def __init__(self, line: Line2D, end: float) -> None:
        across: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "xytext": (AWAY, 0)}
        super().__init__(_wrapped(str(line.get_label())), (1.0, end), color=line.get_color(), **across, **LOOK)
        self.set_transform(IdentityTransform())  # as ``Axes.annotate`` does
        self.beside: list[_Name] = [self]

    def draw(self, renderer: RendererBase) -> None:
        """Draw at the height of the end, or as near to it as the other names let it."""
        assert self.axes is not None
        point = float(np.asarray(renderer.points_to_pixels(1.0)))
        ends = np.array([self.axes.transData.transform((0, name.xy[1]))[1] for name in self.beside])
        heights = np.array([name.get_window_extent(renderer).height for name in self.beside]) + BETWEEN * point
        away = apart(ends, heights) - ends
        for name, moved in zip(self.beside, away, strict=True):
            name.xyann = (AWAY, moved / point)
        super().draw(renderer)


def apart(middles: np.ndarray[Any, Any], heights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give new ``middles`` ``(n,)`` of boxes of these ``heights``, none overlapping, with the least squared movement.

    The order stays; boxes of equal middles keep the order that they are given in, from the top.
    """
    order = np.lexsort((-np.arange(len(middles)), middles))
    tall = heights[order]
    below = np.concatenate([[0.0], np.cumsum((tall[:-1] + tall[1:]) / 2)])
    found = np.empty(len(middles))
    found[order] = scipy.optimize.isotonic_regression(middles[order] - below).x + below
    return found


def _wrapped(label: str) -> str:
    """The label in short lines; what is in brackets begins one."""
    name, bracket, rest = label.partition(" (")
    return "\n".join([fill(name, LETTERS), *([fill(f"({rest}", LETTERS)] if bracket else [])])


def _end(line: Line2D) -> float | None:
    values = np.asarray(line.get_ydata(), dtype=float)
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else None
