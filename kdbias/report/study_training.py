"""The section of a study on training: validation accuracy and loss by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.report.curves import Metrics, by_epoch, training_curve
from kdbias.report.page import Image, Panel, Section
from kdbias.report.study_results import StudyResults
from kdbias.report.terms import TRAINING

CONTROL = "control"
FILES = {"val/accuracy": "training-accuracy", "train/loss": "training-loss"}
WIDTH, HEIGHT, MOST = 4.0, 3.0, 6  # inches, and networks whose names stand beside their lines


def training_section(found: StudyResults) -> list[Section]:
    """Give the section; none where no run has left its curves."""
    panels = list(training_panels(found).values())
    caption = (
        "Means over the seeds; a band goes from the lowest to the highest. The validation images of a network are of "
        "the same kind as its training images, so those of a teacher may be others than those of its students."
    )
    return [Section("Training", [TRAINING, Image(panels, caption)])] if panels else []


def training_panels(found: StudyResults) -> dict[str, Panel]:
    """Draw validation accuracy and training loss, by file name, of the groups and teachers that logged them."""
    return {
        name: Panel(_drawn(runs, metric), _says(runs, metric))
        for metric, name in FILES.items()
        if (runs := _with(found, metric))
    }


def _with(found: StudyResults, metric: str) -> dict[str, Sequence[Metrics]]:
    logged = {
        label: [run for run in runs if {metric, "epoch"} <= run.keys() and len(by_epoch(run, metric)[0])]
        for label, runs in found.metrics.items()
    }
    return {label: runs for label, runs in logged.items() if runs}


def _drawn(runs: dict[str, Sequence[Metrics]], metric: str) -> Figure:
    others = {label: of for label, of in runs.items() if label != CONTROL}
    width = WIDTH if len(runs) <= MOST else 1.5 * WIDTH
    return training_curve(others, metric, control=runs.get(CONTROL), width=width, height=HEIGHT)


def _says(runs: dict[str, Sequence[Metrics]], metric: str) -> str:
    scale, unit = (100.0, " %") if metric == "val/accuracy" else (1.0, "")
    said = []
    for label, of in runs.items():
        curves = [by_epoch(run, metric)[1] for run in of]
        first, last = (scale * float(np.mean([curve[place] for curve in curves])) for place in (0, -1))
        said.append(f"{label} from {first:.3g} to {last:.3g}{unit}")
    what = "validation accuracy" if metric == "val/accuracy" else "training loss"
    return f"Lines: {what} from the first to the last epoch. {', '.join(said)}."
