"""Figures of accuracy under patch shuffle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.lines import bands, chance, classes, draw
from kdbias.report.named_level import named_level
from kdbias.report.networks import Runs, images, networks
from kdbias.report.over_training import series, validation
from kdbias.report.style import canvas, card, legend_beside, styled


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw accuracy (%) and retention by grid, with a line for each network."""
    found = networks(results, control, initial)
    with styled():
        figure, (left, right) = canvas(1, 2, width=7.6, height=3.1)
        for network in found:
            grids = network.runs[0].arrays["grids"]
            place = np.arange(len(grids))
            draw(left, place, network, 100 * network.values("accuracy"), 100 * network.values("accuracy_interval"))
            draw(right, place, network, network.values("retention"), network.values("retention_interval"))
        chance(left, classes(found))
        named_level(right, 0.0, "chance")
        for axes in (left, right):
            axes.set(xlabel="grid of shuffled patches", xticks=place, xticklabels=[f"{g}×{g}" for g in grids])
        left.set(ylabel="accuracy (%)", title=images(found))
        right.set(ylabel="retention (of accuracy above chance)", title=bands(found))
        legend_beside(right)
    return {"shuffle": figure}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw accuracy (%) over training for each grid, from the Results of a ``ProbeCallback`` in order."""
    with styled():
        figure, axes = card()
        grids = results[-1].arrays["grids"]
        accuracy = 100 * np.stack([result.arrays["accuracy"] for result in results], axis=1)
        names = [f"{grid}×{grid}" if grid > 1 else "clean" for grid in grids]
        series(axes, results, zip(names, accuracy, strict=True))
        chance(axes, {results[-1].meta["classes"]})
        axes.set(ylabel="accuracy (%)", title=f"patch shuffle, {validation(results)}")
        legend_beside(axes)
    return figure
