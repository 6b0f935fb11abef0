"""Figures of the effective receptive field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.bands import Runs
from kdbias.report.lines import NetworkLines, draw, images, level, networks
from kdbias.report.style import INITIAL, REFERENCE, canvas, legend_beside, styled

RADII = {"radius": "energy", "magnitude_radius": "magnitude"}
COLUMNS = 6
FAINTEST = 1e-4  # of the brightest pixel of a map


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the radii (pixels) by depth, the share of energy by radius of the last layer, and the maps."""
    found = networks(results, control, initial)
    return {
        "receptive_field": _radius(found, images(found)),
        "receptive_field-curve": _curve(found),
        "receptive_field-maps": _maps(found),
    }


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's radii (pixels) by layer over training, from the Results of a ``ProbeCallback`` in order."""
    found = []
    colours = mpl.colormaps["viridis_r"](np.linspace(0.12, 1.0, len(results)))
    for result, colour in zip(results, colours, strict=True):
        untrained = result.meta["epoch"] == 0
        style = INITIAL if untrained else {"color": colour, "marker": "o", "markersize": 3}
        found.append(NetworkLines("untrained" if untrained else f"epoch {result.meta['epoch']}", [result], style))
    return _radius(found, f"{results[-1].meta['n']:,} validation images")


def _radius(found: Sequence[NetworkLines], title: str) -> Figure:
    with styled():
        figure, panels = canvas(1, 2, width=7.6, height=3.0)
        for axes, (key, what) in zip(panels, RADII.items(), strict=True):
            for network in found:
                draw(axes, network.runs[0].arrays["depth"], network, network.values(key))
            for value in sorted({float(run.arrays["uniform_radius"]) for n in found for run in n.runs}):
                level(axes, value, f"uniform over the image, {value:.1f}", place=0.01)
            share = f"{found[0].runs[0].meta['share']:.0%}".replace("%", " %")
            axes.set(xlabel="depth (part of the layers)", ylabel=f"radius of {share} {what} (pixels)")
            axes.set_ylim(bottom=0)
        panels[0].set_title(title)
        legend_beside(panels[1])
    return figure


def _curve(found: Sequence[NetworkLines]) -> Figure:
    with styled():
        figure, axes = canvas()
        for network in found:
            lines = NetworkLines(network.label, network.runs, {**network.style, "marker": ""})
            draw(axes, network.runs[0].arrays["radii"], lines, 100 * network.values("curve")[:, -1])
        first = found[0].runs[0]
        axes.plot(first.arrays["radii"], 100 * first.arrays["uniform_curve"], label="uniform", **REFERENCE)
        axes.set(xlabel="radius (pixels)", ylabel="gradient energy within (%)")
        axes.set(title=f"last layer, {images(found)}", ylim=(0, 103))
        axes.set_xlim(left=0)
        legend_beside(axes)
    return figure


def _maps(found: Sequence[NetworkLines]) -> Figure:
    """Draw the maps of up to six layers of each network, on a logarithmic scale that is each map's own."""
    with styled():
        figure, grid = canvas(len(found), COLUMNS, width=7.6, height=1.1 * len(found) + 0.5, squeeze=False)
        figure.set_layout_engine("compressed")
        for row, network in zip(grid, found, strict=True):
            energy, names = network.values("energy").mean(0), network.runs[0].meta["layers"]
            chosen = np.unique(np.linspace(0, len(energy) - 1, min(COLUMNS, len(energy))).round().astype(int))
            for axes in row:
                axes.set_axis_off()
            for axes, layer in zip(row, chosen, strict=False):
                axes.set_axis_on()
                shown = energy[layer] / energy[layer].max()
                image = axes.imshow(shown, norm=LogNorm(FAINTEST, 1.0, clip=True), cmap="magma")
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
                axes.set_title(names[layer], fontsize=7, loc="center", pad=2)
            row[0].set_ylabel(network.label, rotation=0, ha="right", va="center")
        bar = figure.colorbar(image, ax=grid, shrink=0.9, pad=0.02, label="gradient energy\n(part of the brightest)")
        bar.outline.set_visible(False)
        figure.suptitle(f"effective receptive field of the central token, {images(found)}", x=0.01, ha="left", size=9)
    return figure
