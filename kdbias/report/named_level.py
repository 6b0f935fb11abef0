"""A horizontal reference line, with its name at a place where it covers nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, IdentityTransform

from kdbias.report.style import QUIET, REFERENCE

NEAREST, STEP = 2.5, 2.0
"""Least distance of a name from its line, and the step by which it moves away if there is no room (points)."""
ROOM, EDGE = 2.0, 4.0
"""Least space around a name, and between a name and the left and right edge of the axes (points)."""
ACROSS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.0, 1.0)
"""Positions along the line that are tried in this order, 0 at the left end, 1 at the right."""
LOOK: Mapping[str, Any] = {"ha": "center", "va": "bottom", "color": QUIET, "fontsize": 7.5, "clip_on": False}


def named_level(axes: Axes, value: float, text: str) -> None:
    """Draw a line at the height ``value``, with its name at the nearest place free of lines, bands, bars and names."""
    line = axes.axhline(value, **REFERENCE)
    axes.add_artist(_Name(line, value, text))


class _Name(Annotation):
    """The name of ``line``; it is placed when drawn, because only then limits and size of the axes are final."""

    def __init__(self, line: Line2D, value: float, text: str) -> None:
        across: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "xytext": (0, NEAREST)}
        super().__init__(text, (0.5, value), **across, **LOOK)
        self.set_transform(IdentityTransform())  # as ``Axes.annotate`` does
        self._line = line

    def draw(self, renderer: RendererBase) -> None:
        """Draw at the nearest free place or, if there is none, at the place with the least overlap."""
        paths, names = self._drawn(renderer)
        least: int | None = None
        for across, away, box in self._places(renderer):
            crossed = sum(box.overlaps(name) for name in names)
            crossed += sum(path.intersects_bbox(box, filled=filled) for path, filled in paths)
            if least is None or crossed < least:
                least = crossed
                self.xy, self.xyann = (across, self.xy[1]), (0, away)
            if not least:
                break
        super().draw(renderer)

    def _places(self, renderer: RendererBase) -> Iterator[tuple[float, float, Bbox]]:
        """Give places within the axes, nearest to the line first.

        A place is the middle as a fraction of the width, the lower edge in points above the line, and the box with the
        space around it.
        """
        assert self.axes is not None
        inside, own = self.axes.bbox, self.get_window_extent(renderer)
        point = float(np.asarray(renderer.points_to_pixels(1.0)))
        level = self.axes.transData.transform((0, self.xy[1]))[1]
        high, free = own.height / point, inside.width - own.width - 2 * EDGE * point
        for gap in takewhile(lambda gap: gap * point < inside.height, count(NEAREST, STEP)):
            for away in (gap, -gap - high):
                low = level + away * point
                if low < inside.y0 or low + own.height > inside.y1:
                    continue
                for part in ACROSS:
                    left = inside.x0 + EDGE * point + part * free
                    box = Bbox.from_bounds(left, low, own.width, own.height).padded(ROOM * point)
                    yield (left + own.width / 2 - inside.x0) / inside.width, away, box

    def _drawn(self, renderer: RendererBase) -> tuple[list[tuple[Path, bool]], list[Bbox]]:
        """Give the paths of lines and of (filled) bands and bars, and the boxes of the names drawn before this one."""
        assert self.axes is not None
        lines = [line for line in self.axes.lines if line is not self._line]
        paths = [(line.get_transform().transform_path(line.get_path()), False) for line in lines]
        for band in self.axes.collections:
            paths += [(band.get_transform().transform_path(path), True) for path in band.get_paths()]
        paths += [
            (bar.get_transform().transform_path(bar.get_path()), True) for bar in self.axes.patches if bar.get_visible()
        ]
        names = takewhile(lambda text: text is not self, self.axes.texts)
        return paths, [name.get_window_extent(renderer) for name in names]
