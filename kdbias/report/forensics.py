"""Several networks side by side: attention of heads and layers, CKA, and the Hessian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from kdbias.report import panels
from kdbias.report.cka import occurring
from kdbias.report.images import colour_bar, matrix
from kdbias.report.lines import ticks
from kdbias.report.means import mean, trace
from kdbias.report.networks import counted, images, networks, sample
from kdbias.report.panels import Groups, Networks, Panel
from kdbias.report.style import canvas, heading, legend_below, panel_grid, styled
from kdbias.report.table import Cell, Column, Table

WIDEST = 4  # heat maps in a row
SHARPNESS: Mapping[str, str] = {
    "trace": "Hessian trace ± s.e.",
    "top": "largest eigenvalue",
    "bottom": "most negative eigenvalue",
    "trace_per_weight": "trace / ‖w‖²",
    "loss": "loss on the same images (nats)",
}


def figures(
    attention: Groups, cka: Groups, hessian: Groups, *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the available Results of attention, CKA and Hessian, and a summary of four panels.

    ``control`` and ``initial`` name the student without teacher and the untrained one. With several seeds, lines are
    means and bands go from the lowest to the highest.
    """
    every = [*attention, *cka, *hessian]
    looked, alike, sharp = (
        networks(results, control, initial, among=every) if results else [] for results in (attention, cka, hessian)
    )
    found: dict[str, Figure] = {}
    if looked:
        found["forensics-heads"] = _single(panels.heads, looked)
        found["forensics-layers"] = layer_progression(looked)
    if sharp:
        found["forensics-hessian"] = sharpness(sharp)
    if cka:
        found["forensics-cka"] = similarity(cka)
    if sum(map(bool, (looked, alike, sharp))) > 1:
        found["forensics-summary"] = summary(looked, alike, sharp)
    return found


def summary(attention: Networks, cka: Networks, hessian: Networks) -> Figure:
    """Draw four panels: heads sorted by distance, distance by layer, Hessian trace, CKA with the last layer."""
    with styled():
        figure, grid = canvas(2, 2, width=9.2, height=6.4)
        shown: list[tuple[str, Networks, Panel]] = [
            ("a  locality spectrum", attention, panels.heads),
            ("b  layer progression", attention, panels.layers),
            ("c  curvature of the loss", hessian, panels.curvature),
            ("d  similarity to the last layer", cka, panels.last_layer),
        ]
        for axes, (title, found, draw) in zip(grid.flat, shown, strict=True):
            if found:
                draw(axes, found)
                axes.set_title(f"{title} ({images(found)})")
            else:
                axes.set_axis_off()
                axes.set_title(f"{title}: not measured")
        legend_below(figure, [grid[0, 0], grid[0, 1], grid[1, 1]])
    return figure


def layer_progression(attention: Networks) -> Figure:
    """Draw attention distance and entropy by layer."""
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.2, height=3.5)
        panels.layers(left, attention)
        panels.layers(right, attention, "entropy")
        left.set_title(images(attention))
        legend_below(figure, [left])
    return figure


def sharpness(hessian: Networks) -> Figure:
    """Draw the Hessian's trace and extreme eigenvalues, with the trace by weight and the loss needed to read them."""
    shown = [key for key in SHARPNESS if all(key in run.scalars for network in hessian for run in network.runs)]
    with styled():
        width, height = 9.2 / min(3, len(shown)), 0.7 + 0.26 * len(hessian)
        figure, grid = panel_grid(len(shown), 3, width=width, height=height, aside=0.0, above=0.9)
        for place, (axes, key) in enumerate(zip(grid, shown, strict=True)):
            panels.curvature(axes, hessian, key)
            axes.set_xlabel(SHARPNESS[key])
            if place % 3:
                axes.set_yticklabels([])
        heading(figure, images(hessian))
    return figure


def similarity(cka: Groups) -> Figure:
    """Draw the CKA of all layers of each network with each other, the mean over seeds, on one scale."""
    with styled():
        figure, grid = panel_grid(len(cka), WIDEST, width=2.3, height=2.5)
        figure.set_layout_engine("compressed")
        columns = min(WIDEST, len(cka))
        means = {label: np.mean([run.arrays["cka"] for run in runs], axis=0) for label, runs in cka.items()}
        bottom, top = occurring(means.values())
        for place, (axes, (label, runs)) in enumerate(zip(grid, cka.items(), strict=True)):
            values = means[label]
            image = matrix(axes, values.T, bottom=bottom, top=top)
            axes.invert_yaxis()
            axes.set_title(counted(label, len(runs)), fontsize=8.5)
            places = ticks(len(values))[:: 2 if 6 < len(values) <= 13 else 1]
            axes.set(xticks=places, yticks=places)
            axes.set_xlabel("layer" if place + columns >= len(cka) else "")
            axes.set_ylabel("layer" if place % columns == 0 else "")
        colour_bar(figure, image, grid, f"CKA ({sample(cka)})")
    return figure


def _single(panel: Panel, found: Networks) -> Figure:
    with styled():
        figure, axes = canvas(width=6.4, height=3.7)
        panel(axes, found)
        axes.set_title(images(found))
        legend_below(figure, [axes])
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
