"""Figures of the similarity of Grad-CAM maps to the teacher's, with the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.dots import Panel, dot_panels, known
from kdbias.report.networks import Runs, sample, teachers
from kdbias.report.over_training import scalars, validation
from kdbias.report.style import REFERENCE, card, seeds, styled
from kdbias.stats import Estimate, bootstrap_mean

RESAMPLES = 2_000


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw correlation and cosine similarity of the maps, and the correlation with maps of other images."""
    some = seeds(next(iter(results.values())), Result)[0].meta
    panels = [
        Panel("correlation of the maps", lambda run: mean(run, "correlation"), references={"none": 0.0}),
        Panel(
            "correlation with the map\nof another image",
            lambda run: known(run.scalars["correlation_other"]),
            references={"none": 0.0},
        ),
        Panel("cosine similarity", lambda run: mean(run, "cosine")),
    ]
    grid = "×".join(map(str, some["grid"]))
    title = f"Grad-CAM beside that of {teachers(results)}, on {grid}, {sample(results)}, 95 % intervals over images"
    return {"gradcam_agreement": dot_panels(results, panels, control=control, initial=initial, title=title)}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw the correlation with the teacher's maps over training, from the Results of a ``ProbeCallback`` in order."""
    labels = {"correlation": "the same image", "correlation_other": "another image"}
    with styled():
        figure, axes = card()
        axes.axhline(0, **REFERENCE)
        scalars(axes, results, labels)
        axes.set(ylabel="correlation with\nthe teacher's Grad-CAM", title=validation(results))
        axes.legend()
    return figure


def mean(run: Result, key: str) -> Estimate:
    """Give the mean of an array over the images on which it is defined, with its interval over these images."""
    values = run.arrays[key]
    values = values[~np.isnan(values)]
    return bootstrap_mean(values, RESAMPLES) if len(values) else Estimate.refuse("no image has two maps to compare")
