"""Figures of consistency under shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.lines import chance, classes, draw, percent_axis, whole_numbers
from kdbias.report.networks import Runs, images, networks
from kdbias.report.over_training import series, validation
from kdbias.report.style import canvas, card, legend_beside, styled


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the share of unchanged answers (%) and the accuracy (%) by shift, means over directions, by network."""
    found = networks(results, control, initial)
    with styled():
        figure, (left, right) = canvas(1, 2, width=7.6, height=2.9)
        for network in found:
            shifts = network.runs[0].arrays["shifts"]
            for axes, key in ((left, "consistency"), (right, "accuracy")):
                draw(axes, shifts, network, 100 * network.values(key).mean(1))
        chance(right, classes(found))
        for axes in (left, right):
            whole_numbers(axes, "shift (pixels)")
        left.set(ylabel="answers unchanged (%)", title=images(found))
        percent_axis(left)
        several = any(len(network.runs) > 1 for network in found)
        right.set(ylabel="accuracy (%)", title="bands: lowest to highest seed" if several else "")
        legend_beside(right)
    return {"shift": figure}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw the share of unchanged answers (%) over training for each shift, from a ``ProbeCallback``'s Results."""
    with styled():
        figure, axes = card()
        shifts = results[-1].arrays["shifts"][1:]
        shares = 100 * np.stack([result.arrays["consistency"].mean(0)[1:] for result in results], axis=1)
        series(axes, results, ((f"{shift} px", row) for shift, row in zip(shifts, shares, strict=True)))
        axes.set(ylabel="answers unchanged (%)", title=f"shifts, {validation(results)}")
        percent_axis(axes)
        legend_beside(axes)
    return figure
