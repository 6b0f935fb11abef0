"""Images side by side, a labelled row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kdbias.report.style import canvas, styled

CELL = 0.62  # inches


def image_grid(rows: Mapping[str, NDArray[np.floating]], *, columns: Sequence[str] = (), title: str = "") -> Figure:
    """Draw rows of images, each ``(n, H, W, C)`` in [0, 1] with C = 3 or 1, under the labels of the columns.

    Raises:
        ValueError: there is no row, or the rows hold unlike numbers of images.
    """
    counts = {len(images) for images in rows.values()}
    if len(counts) != 1:
        raise ValueError(f"a grid takes rows of equal length, got {sorted(counts)}")
    count = counts.pop()
    with styled():
        size = {"width": 1.2 + CELL * count, "height": 0.4 + CELL * len(rows)}
        figure, cells = canvas(len(rows), count, **size, squeeze=False)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
        for line, (label, images) in zip(cells, rows.items(), strict=True):
            line[0].set_ylabel(label, rotation=0, ha="right", va="center")
            for axes, image in zip(line, images, strict=True):
                axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
        for axes, label in zip(cells[0], columns, strict=False):
            axes.set_title(label, fontsize=7, loc="center")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure
