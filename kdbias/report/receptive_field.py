"""Figures of the effective receptive field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.images import bare, beside, colour_bar, over
from kdbias.report.lines import draw, uniform
from kdbias.report.networks import NetworkLines, Runs, images, networks
from kdbias.report.over_training import epochs, some, validation
from kdbias.report.style import REFERENCE, canvas, card, heading, legend_beside, styled

RADII = {"radius": "energy", "magnitude_radius": "magnitude"}
COLUMNS = 6
FAINTEST = 1e-4  # of the brightest pixel of a map


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the radii (pixels) by depth, the share of energy by radius of the last layer, and the maps."""
    found = networks(results, control, initial)
    with styled():
        figure, axes = canvas(1, 2, width=7.6, height=3.0)
    return {
        "receptive_field": _radius(figure, axes, found, images(found)),
        "receptive_field-curve": _curve(found),
        "receptive_field-maps": _maps(found),
    }


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's radii (pixels) by layer over training, from the Results of a ``ProbeCallback`` in order."""
    with styled():
        figure, axes = card(2, height=2.5)
    return _radius(figure, axes, epochs(results), validation(results))


def _radius(figure: Figure, panels: Sequence[Axes], found: Sequence[NetworkLines], title: str) -> Figure:
    with styled():
        for axes, (key, what) in zip(panels, RADII.items(), strict=True):
            for network in found:
                draw(axes, network.runs[0].arrays["depth"], network, network.values(key))
            uniform(axes, found, "uniform_radius", "uniform over the image", digits=1)
            share = f"{found[0].runs[0].meta['share']:.0%}".replace("%", " %")
            axes.set(xlabel="depth (part of the layers)", ylabel=f"radius of {share} {what} (pixels)")
        panels[0].set_title(title)
        legend_beside(panels[-1])
    return figure


def _curve(found: Sequence[NetworkLines]) -> Figure:
    with styled():
        figure, axes = canvas()
        for network in found:
            energy = 100 * network.values("curve")[:, -1]
            draw(axes, network.runs[0].arrays["radii"], network, energy, markers=False)
        first = found[0].runs[0]
        axes.plot(first.arrays["radii"], 100 * first.arrays["uniform_curve"], label="uniform", **REFERENCE)
        axes.set(xlabel="radius (pixels)", ylabel="gradient energy within (%)")
        axes.set(title=f"last layer, {images(found)}", ylim=(0, 100))
        axes.set_xlim(left=0)
        legend_beside(axes)
    return figure


def _maps(found: Sequence[NetworkLines]) -> Figure:
    """Draw the maps of up to six layers of each network, each on its own logarithmic scale."""
    with styled():
        most = min(COLUMNS, max(len(network.runs[0].meta["layers"]) for network in found))
        size = {"width": 1.27 * most + 1.6, "height": 1.3 * len(found) + 0.5}
        figure, grid = canvas(len(found), most, squeeze=False, **size)
        figure.set_layout_engine("compressed")
        for row, network in zip(grid, found, strict=True):
            energy, names = network.values("energy").mean(0), network.runs[0].meta["layers"]
            chosen = some(len(energy), most)
            for axes in row[len(chosen) :]:
                axes.set_axis_off()
            for axes, layer in zip(row[: len(chosen)], chosen, strict=True):
                bare(axes)
                shown = energy[layer] / energy[layer].max()
                image = axes.imshow(shown, norm=LogNorm(FAINTEST, 1.0, clip=True), cmap="magma")
                over(axes, names[layer])
            beside(row[0], network.label)
        colour_bar(figure, image, list(grid.flat), "gradient energy\n(part of the brightest)")
        heading(figure, f"effective receptive field of the central token, {images(found)}")
    return figure
