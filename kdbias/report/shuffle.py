"""Figures of accuracy under patch shuffle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.bands import Runs
from kdbias.report.lines import bands, chance, draw, images, level, networks, over_epochs
from kdbias.report.style import canvas, legend_beside, styled


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw accuracy (%) and retention by grid, a line a network."""
    found = networks(results, control, initial)
    with styled():
        figure, (left, right) = canvas(1, 2, width=7.6, height=3.1)
        for network in found:
            grids = network.runs[0].arrays["grids"]
            place = np.arange(len(grids))
            draw(left, place, network, 100 * network.values("accuracy"), 100 * network.values("accuracy_interval"))
            draw(right, place, network, network.values("retention"), network.values("retention_interval"))
        if (floor := chance(found)) is not None:
            level(left, floor, f"chance, {floor:.3g} %", place=0.01, below=True)
        level(right, 0.0, "chance", place=0.01)
        for axes in (left, right):
            axes.set(xlabel="grid of shuffled patches", xticks=place, xticklabels=[f"{g}×{g}" for g in grids])
        left.set(ylabel="accuracy (%)", title=images(found))
        left.set_ylim(bottom=0)
        right.set(ylabel="retention (of accuracy above chance)", title=bands(found))
        legend_beside(right)
    return {"shuffle": figure}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw accuracy (%) over training, a line a grid, from the Results of a ``ProbeCallback`` in order."""
    with styled():
        figure, axes = canvas()
        grids = results[-1].arrays["grids"]
        accuracy = 100 * np.stack([result.arrays["accuracy"] for result in results], axis=1)
        over_epochs(axes, results, ((f"{g}×{g}" if g > 1 else "clean", row) for g, row in zip(grids, accuracy)))
        floor = 100 / results[-1].meta["classes"]
        level(axes, floor, f"chance, {floor:.3g} %", below=True)
        axes.set(ylabel="accuracy (%)", title=f"patch shuffle, {results[-1].meta['n']:,} validation images")
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure
