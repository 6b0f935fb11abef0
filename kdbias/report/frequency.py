"""Figures of accuracy by spatial frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.lines import bands, chance, classes, draw
from kdbias.report.networks import NetworkLines, Runs, images, networks
from kdbias.report.over_training import series, validation
from kdbias.report.style import canvas, card, heading, legend_beside, styled
from kdbias.stats import accuracy as estimate_of

KEPT = {"low": "low-pass: below the cutoff is kept", "high": "high-pass: above the cutoff is kept"}


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw accuracy (%) by cutoff under low-pass and high-pass, with a line for each network."""
    found = networks(results, control, initial)
    with styled():
        figure, panels = canvas(1, 2, width=7.6, height=3.1)
        for axes, (band, title) in zip(panels, KEPT.items(), strict=True):
            for network in found:
                _curve(axes, network, band)
            chance(axes, classes(found))
            axes.set(xlabel="cutoff (parts of the Nyquist frequency)", ylabel="accuracy (%)", title=title)
            axes.set_xlim(0, 1)
        panels[1].sharey(panels[0])
        legend_beside(panels[1])
        heading(figure, f"{images(found)}; {bands(found)}")
    return {"frequency": figure}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw accuracy (%) by cutoff over training, under low-pass and high-pass, from a ``ProbeCallback``'s Results."""
    with styled():
        figure, panels = card(2, height=2.6)
        cutoffs = results[-1].arrays["cutoffs"]
        for axes, (band, title) in zip(panels, KEPT.items(), strict=True):
            accuracy = 100 * np.stack([result.arrays[f"accuracy_{band}"] for result in results], axis=1)
            series(axes, results, ((f"{cutoff:.3g}", row) for cutoff, row in zip(cutoffs, accuracy, strict=True)))
            chance(axes, {results[-1].meta["classes"]})
            axes.set(ylabel="accuracy (%)", title=title)
        legend_beside(panels[0], title="cutoff (Nyquist)")
        heading(figure, validation(results))
    return figure


def _curve(axes: Axes, network: NetworkLines, band: str) -> None:
    """Draw one band; a high-pass begins with the unchanged images, at a cutoff of 0."""
    cutoffs, accuracy = network.runs[0].arrays["cutoffs"], network.values(f"accuracy_{band}")
    interval = network.values(f"accuracy_{band}_interval")
    if band == "high":
        clean = np.array([[run.scalars["accuracy"]] for run in network.runs])
        cutoffs, accuracy = np.append(0.0, cutoffs), np.hstack([clean, accuracy])
        found = [estimate_of(run.arrays["right"]) for run in network.runs]
        interval = np.concatenate([[[(each.low, each.high)] for each in found], interval], axis=1)
    draw(axes, cutoffs, network, 100 * accuracy, 100 * interval)
