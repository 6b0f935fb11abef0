"""Several networks side by side: where heads look, how layers differ, how sharp the minimum is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.report.bands import counted, sample
from kdbias.report.panels import (
    Groups,
    Styles,
    curvature,
    heads,
    last_layer,
    layers,
    legend_below,
    mean,
    styles,
    trace,
)
from kdbias.report.style import canvas, styled
from kdbias.report.table import Cell, Column, Table

WIDEST = 4  # heat maps in a row


def figures(
    attention: Groups, cka: Groups, hessian: Groups, *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw what there is of attention, curvature and representations, and a summary of four panels.

    ``control`` and ``initial`` name the student without teacher and the untrained one. Lines are means over seeds,
    bands go from the lowest to the highest.
    """
    looks = styles([*attention, *cka, *hessian], control, initial)
    found: dict[str, Figure] = {}
    if attention:
        found["forensics-heads"] = _single(lambda axes: heads(axes, attention, looks), attention, looks)
        found["forensics-layers"] = layer_progression(attention, looks)
    if hessian:
        found["forensics-hessian"] = sharpness(hessian, looks)
    if cka:
        found["forensics-cka"] = similarity(cka)
    if sum(map(bool, (attention, cka, hessian))) > 1:
        found["forensics-summary"] = summary(attention, cka, hessian, looks)
    return found


def summary(attention: Groups, cka: Groups, hessian: Groups, looks: Styles) -> Figure:
    """Draw four panels: heads sorted by distance, distance by layer, Hessian trace, CKA with the last layer."""
    with styled():
        figure, grid = canvas(2, 2, width=9.2, height=6.4)
        panels: list[tuple[Axes, str, Groups, Callable[[Axes, Groups, Styles], None]]] = [
            (grid[0, 0], "a  locality spectrum", attention, heads),
            (grid[0, 1], "b  layer progression", attention, layers),
            (grid[1, 0], "c  curvature of the loss", hessian, curvature),
            (grid[1, 1], "d  similarity to the last layer", cka, last_layer),
        ]
        for axes, title, groups, draw in panels:
            if groups:
                draw(axes, groups, looks)
                axes.set_title(f"{title} ({sample(groups)})")
            else:
                axes.set_axis_off()
                axes.set_title(f"{title}: not measured")
        legend_below(figure, [grid[0, 0], grid[0, 1], grid[1, 1]], looks)
    return figure


def layer_progression(attention: Groups, looks: Styles) -> Figure:
    """Draw attention distance and entropy by layer."""
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.2, height=3.5)
        layers(left, attention, looks)
        layers(right, attention, looks, "entropy")
        left.set_title(sample(attention))
        legend_below(figure, [left], looks)
    return figure


def sharpness(hessian: Groups, looks: Styles) -> Figure:
    """Draw the Hessian's trace and extreme eigenvalues, and what they have to be read with: weights and loss."""
    names = {
        "trace": "Hessian trace ± s.e.",
        "top": "largest eigenvalue",
        "bottom": "most negative eigenvalue",
        "trace_per_weight": "trace / ‖w‖²",
        "loss": "loss on the same images (nats)",
    }
    shown = [key for key in names if all(key in run.scalars for runs in hessian.values() for run in runs)]
    with styled():
        rows = -(-len(shown) // 3)
        height = 0.9 + rows * (0.7 + 0.26 * len(hessian))
        figure, grid = canvas(rows, min(3, len(shown)), width=9.2, height=height, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        for place, (axes, key) in enumerate(zip(grid.flat, shown, strict=False)):
            curvature(axes, hessian, looks, key)
            axes.set_xlabel(names[key])
            if place % 3:
                axes.set_yticklabels([])
        figure.suptitle(sample(hessian), x=0.01, ha="left", fontsize=9.5)
    return figure


def similarity(cka: Groups) -> Figure:
    """Draw the CKA of all layers of each network with each other, the mean over seeds, on one scale from 0 to 1."""
    count = len(cka)
    columns = min(WIDEST, count)
    rows = -(-count // columns)
    with styled():
        figure, grid = canvas(rows, columns, width=2.3 * columns + 0.9, height=2.5 * rows + 0.3, squeeze=False)
        figure.set_layout_engine("compressed")
        for axes in grid.flat[count:]:
            axes.set_axis_off()
        for axes, (label, runs) in zip(grid.flat, cka.items(), strict=False):
            mean = np.mean([run.arrays["cka"] for run in runs], axis=0)
            image = axes.imshow(mean.T, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest")
            axes.set_title(counted(label, len(runs)), fontsize=8.5)
            axes.grid(False)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            ticks = range(0, len(mean), 1 if len(mean) <= 6 else 2)
            axes.set_xticks(ticks)
            axes.set_yticks(ticks)
        for axes in grid[:, 0]:
            axes.set_ylabel("layer")
        for place in range(count):
            if place + columns >= count:
                grid.flat[place].set_xlabel("layer")
        bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.85, pad=0.02)
        bar.set_label(f"CKA ({sample(cka)})")
        bar.outline.set_visible(False)
    return figure


def _single(draw: Callable[[Axes], None], groups: Groups, looks: Styles) -> Figure:
    with styled():
        figure, axes = canvas(width=6.4, height=3.7)
        draw(axes)
        axes.set_title(sample(groups))
        legend_below(figure, [axes], looks)
    return figure


def table(attention: Groups, cka: Groups, hessian: Groups) -> Table:
    """Give a row for each network: means over its seeds."""
    labels = list(dict.fromkeys([*attention, *cka, *hessian]))
    rows: list[list[Cell]] = []
    for label in labels:
        looks, alike, curved = attention.get(label, ()), cka.get(label, ()), hessian.get(label, ())
        spread = [np.quantile(run.arrays["distance"], [0.1, 0.5, 0.9]) for run in looks]
        rows.append(
            [
                label,
                max(len(looks), len(alike), len(curved)),
                mean(looks, "distance", 2),
                " / ".join(f"{value:.2f}" for value in np.mean(spread, axis=0)) if spread else "-",
                mean(looks, "distance_ratio", 2),
                mean(looks, "entropy_ratio", 2),
                mean(alike, "first_last", 2),
                mean(alike, "diversity", 2),
                trace(curved),
                mean(curved, "top"),
                mean(curved, "bottom"),
                mean(curved, "trace_per_weight"),
                mean(curved, "loss"),
            ]
        )
    columns = [
        Column("network"),
        Column("seeds"),
        Column("attention distance", unit="patches"),
        Column("its heads, 10 / 50 / 90 %", unit="patches"),
        Column("of uniform"),
        Column("entropy of uniform"),
        Column("CKA first-last"),
        Column("diversity"),
        Column("Hessian trace ± s.e."),
        Column("top eigenvalue"),
        Column("bottom eigenvalue"),
        Column("trace / ‖w‖²"),
        Column("loss", unit="nats"),
    ]
    counts = ", ".join(
        f"{name} {sample(of)}" for name, of in (("attention", attention), ("CKA", cka), ("Hessian", hessian)) if of
    )
    caption = f"Means over seeds; {counts}. The standard error is that of the estimate, not of other seeds."
    return Table("Forensics", columns, rows, caption)
