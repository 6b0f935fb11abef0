"""Figures of representational similarity between layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdbias.probes.base import Result
from kdbias.report.style import INK, canvas, styled


def heat_map(result: Result, *, name: str = "student", other: str | None = None) -> Figure:
    """Draw the CKA of all layers of a network with each other, or with those of ``other``, the number of pictures
    above.
    """
    return panels({name: result}, other=other)


def panels(results: Mapping[str, Result], *, other: str | None = None) -> Figure:
    """Draw the CKA of several networks beside each other, on one colour scale from 0 to 1.

    ``other`` names the second network where the Results are of two. Estimates below 0, which the debiased estimator
    gives for unrelated features, have the colour of 0 and their own number.
    """
    if not results:
        raise ValueError("nothing to draw: no Result of CKA")
    with styled():
        height = 3.3 if other is None else 2.7
        figure, grid = canvas(1, len(results), width=3.0 * len(results) + 0.9, height=height, squeeze=False)
        figure.set_layout_engine("compressed")
        for axes, (name, result) in zip(grid[0], results.items(), strict=True):
            image = _panel(axes, result, name, other)
            axes.set_title(f"{name}\nn = {result.meta['n']:,} pictures, {result.meta['estimator']}")
        _bar(figure, image, list(grid[0]))
    return figure


def training(results: Sequence[Result]) -> Figure:
    """Draw one network's CKA as it was first and as it is now, from the Results of a ``ProbeCallback`` in order."""
    shown = [results[-1]] if len(results) == 1 else [results[0], results[-1]]
    return panels({"untrained" if r.meta["epoch"] == 0 else f"epoch {r.meta['epoch']}": r for r in shown})


def _panel(axes: Axes, result: Result, name: str, other: str | None) -> AxesImage:
    cka = result.arrays["cka"]
    aspect: Literal["equal", "auto"] = "equal" if other is None else "auto"
    image = axes.imshow(cka.T, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest", aspect=aspect)
    axes.grid(False)
    axes.set(xlabel="layer", ylabel="layer")
    if other is not None:
        axes.set(xlabel=f"layer of {name}", ylabel=f"layer of {other}")
    axes.set_xticks(_ticks(cka.shape[0]))
    axes.set_yticks(_ticks(cka.shape[1]))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if max(cka.shape) <= 8:
        for (i, j), value in np.ndenumerate(cka):
            axes.text(
                i, j, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value < 0.65 else INK
            )
    return image


def _ticks(layers: int) -> list[int]:
    step = 1 if layers <= 12 else 2 if layers <= 24 else 4
    return list(range(0, layers, step))


def _bar(figure: Figure, image: AxesImage, axes: list[Axes]) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02, label="CKA (linear)")
    bar.outline.set_visible(False)
