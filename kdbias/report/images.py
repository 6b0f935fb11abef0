"""Images and maps side by side: bare axes, sheets of rows, matrices and their colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdbias.report.style import INK, canvas, heading, styled

CELL = 0.62  # inches
POINTS = 0.6  # width of a letter relative to its size
Array = npt.NDArray[Any]


def bare(axes: Axes, *, ticks: bool = False) -> None:
    """Remove grid, frame and tick marks from the axes of an image, and the ticks too unless ``ticks`` is true."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if not ticks:
        axes.set(xticks=[], yticks=[])


def show(axes: Axes, image: Array) -> None:
    """Draw an image ``(H, W, 3 or 1)`` in [0, 1] without smoothing."""
    axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)), vmin=0, vmax=1, interpolation="nearest")


def sheet(rows: int, columns: int, *, cell: float = CELL, aside: float = 1.2, above: float = 0.6) -> tuple[Figure, Any]:
    """Make a figure of square cells with bare axes ``(rows, columns)``; ``cell``, ``aside`` and ``above`` in inches."""
    figure, cells = canvas(rows, columns, width=aside + cell * columns, height=above + cell * rows, squeeze=False)
    figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    for axes in cells.flat:
        bare(axes)
    return figure, cells


def beside(axes: Axes, text: str) -> None:
    """Write the name of a row left of its first image."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center")


def over(axes: Axes, text: str, *, size: float = 7.0, width: float | None = None) -> None:
    """Write the name of an image above it; a name wider than ``width`` (inches) is cut."""
    letters = len(text) if width is None else int(72 * width / (POINTS * size))
    shown = text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"
    axes.set_title(shown, fontsize=size, loc="center", pad=2)


def image_grid(rows: Mapping[str, npt.NDArray[np.floating]], *, columns: Sequence[str] = (), title: str = "") -> Figure:
    """Draw rows of images, each ``(n, H, W, C)`` in [0, 1] with C = 3 or 1, under the labels of the first columns.

    Raises:
        ValueError: there is no row, the rows differ in length, or there are more labels than columns.
    """
    counts = {len(images) for images in rows.values()}
    if len(counts) != 1:
        raise ValueError(f"a grid takes rows of equal length, got {sorted(counts)}")
    count = counts.pop()
    if len(columns) > count:
        raise ValueError(f"a grid of {count} columns got {len(columns)} labels")
    with styled():
        figure, cells = sheet(len(rows), count, above=0.4)
        for line, (label, images) in zip(cells, rows.items(), strict=True):
            beside(line[0], label)
            for axes, image in zip(line, images, strict=True):
                show(axes, image)
        for axes, label in zip(cells[0][: len(columns)], columns, strict=True):
            over(axes, label, width=CELL)
        if title:
            heading(figure, title)
    return figure


def matrix(
    axes: Axes,
    values: Array,
    *,
    colours: str = "magma",
    bottom: float = 0.0,
    top: float = 1.0,
    size: float = 7.0,
    digits: int | None = None,
    least: float = -np.inf,
    square: bool = True,
) -> AxesImage:
    """Draw ``values`` ``(rows, columns)`` on a colour scale from ``bottom`` to ``top``.

    If ``digits`` is set, cells have their numbers.

    Numbers below ``least`` are left out. Cells are ``square``, or fill the axes. ``size`` is that of the numbers
    (points).
    """
    bare(axes, ticks=True)
    aspect: Any = "equal" if square else "auto"
    image = axes.imshow(values, vmin=bottom, vmax=top, cmap=colours, interpolation="nearest", aspect=aspect)
    for (row, column), value in np.ndenumerate(values if digits is not None else np.empty((0, 0))):
        if value >= least:
            dark = sum(image.cmap(image.norm(value))[:3]) < 1.4
            text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": "white" if dark else INK}
            axes.text(column, row, f"{value:.{digits}f}", **text)
    return image


def colour_bar(figure: Figure, image: Any, axes: Sequence[Axes], label: str) -> Colorbar:
    """Draw the scale of an image beside all ``axes``, without a frame."""
    bar = figure.colorbar(image, ax=list(axes), shrink=0.85, pad=0.02, label=label)
    bar.outline.set_visible(False)
    return bar
