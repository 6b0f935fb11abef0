"""An image, and the same under its Grad-CAM map."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.report.images import bare, colour_bar
from kdbias.report.style import canvas, styled


def overlay(image: npt.NDArray[Any], map_: npt.NDArray[Any], title: str) -> Figure:
    """Draw ``image``, ``(3, s, s)`` uint8, and beside it the same under its activation map ``(h, w)`` in 0..1.

    The map covers the whole square and is interpolated bilinearly from its grid.
    """
    side = image.shape[1]
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    with styled():
        figure, cells = canvas(1, 2, width=5.6, height=2.9)
        figure.set_layout_engine("compressed")
        for axes in cells:
            axes.imshow(image.transpose(1, 2, 0), interpolation="nearest" if side < 128 else "antialiased")
            bare(axes)
        heat = cells[1].imshow(
            map_, extent=extent, cmap="inferno", vmin=0, vmax=1, alpha=0.55, interpolation="bilinear"
        )
        cells[1].set(xlim=extent[:2], ylim=extent[2:])
        cells[0].set_title(title)
        cells[1].set_title(f"Grad-CAM, {map_.shape[0]}×{map_.shape[1]}")
        colour_bar(figure, heat, cells, "evidence for the class (of the largest)")
    return figure
