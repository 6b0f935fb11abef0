"""Training curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.report.lines import band, whole_numbers
from kdbias.report.networks import BESIDE, counted
from kdbias.report.style import CONTROL, canvas, legend_beside, look, seeds, styled

Metrics = dict[str, npt.NDArray[np.float64]]
"""Columns of a ``metrics.csv``, all of one length; NaN if a row has no value."""
Runs = Metrics | Sequence[Metrics]
"""One run, or several seeds of it."""


def read_metrics(path: str | Path) -> Metrics:
    """Read the ``metrics.csv`` of a run; a cell without a number is NaN."""
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    return {name: np.array([float(row[name]) if row[name] else np.nan for row in rows]) for name in names}


def training_curves(networks: Mapping[str, Runs], *, control: Runs | None = None) -> Figure:
    """Draw validation accuracy (%) and training loss by epoch: a line for each network and one for the control.

    The loss of a distilled network has other terms than the control's, so compare its course, not its height. With
    several seeds, the line is their mean and the band goes from the lowest to the highest, over the epochs that all
    seeds have reached.
    """
    lines: list[tuple[str, list[Metrics], Mapping[str, Any]]] = [
        (label, seeds(runs, dict), look(place)) for place, (label, runs) in enumerate(networks.items())
    ]
    if control is not None:
        lines.append((BESIDE[0], seeds(control, dict), CONTROL))
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.0)
        for label, runs, style in lines:
            _curve(left, "val/accuracy", 100.0, label, runs, style)
            _curve(right, "train/loss", 1.0, label, runs, style)
        left.set_ylabel("validation accuracy (%)")
        right.set_ylabel("training loss")
        for axes in (left, right):
            whole_numbers(axes, "epoch")
        legend_beside(right)
    return figure


def by_epoch(metrics: Metrics, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the number of each epoch (from 1) that has a value of ``name``, and their mean in it, each ``(epochs,)``.

    Raises:
        ValueError: the run has no such metric.
    """
    if name not in metrics or "epoch" not in metrics:
        raise ValueError(f"no {name!r} by epoch among the metrics: {', '.join(sorted(metrics)) or 'none'}")
    there = np.isfinite(metrics[name]) & np.isfinite(metrics["epoch"])
    epochs, place = np.unique(metrics["epoch"][there], return_inverse=True)
    return epochs + 1, np.bincount(place, metrics[name][there]) / np.bincount(place)


def _curve(axes: Axes, name: str, factor: float, label: str, runs: Sequence[Metrics], style: Mapping[str, Any]) -> None:
    curves = [by_epoch(run, name) for run in runs]
    shortest = min(len(x) for x, _ in curves)
    x = curves[0][0][:shortest]
    y = factor * np.stack([curve[:shortest] for _, curve in curves])
    band(axes, x, y, counted(label, len(y)), {**style, "marker": style["marker"] if shortest <= 25 else ""})
