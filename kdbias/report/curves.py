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

from kdbias.report.line_ends import label_ends
from kdbias.report.lines import band, percent_axis, whole_numbers
from kdbias.report.networks import BESIDE, counted
from kdbias.report.style import CONTROL, canvas, look, seeds, styled

Metrics = dict[str, npt.NDArray[np.float64]]
"""Columns of a ``metrics.csv``, all of one length; NaN if a row has no value."""
Runs = Metrics | Sequence[Metrics]
"""One run, or several seeds of it."""
Line = tuple[str, Sequence[Metrics], Mapping[str, Any]]
"""A network's label, its runs and its style."""
METRICS: Mapping[str, tuple[str, float]] = {
    "val/accuracy": ("validation accuracy (%)", 100.0),
    "train/loss": ("training loss", 1.0),
}
"""What is drawn, with its label and scale."""


def read_metrics(path: str | Path) -> Metrics:
    """Read the ``metrics.csv`` of a run; an empty cell is NaN.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = list(rows[0]) if rows else []
        return {name: np.array([float(row[name]) if row[name] else np.nan for row in rows]) for name in names}
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def training_curves(networks: Mapping[str, Runs], *, control: Runs | None = None) -> Figure:
    """Draw validation accuracy (%) and training loss side by side, as ``training_curve`` draws them."""
    lines = _lines(networks, control)
    with styled():
        figure, cells = canvas(1, 2, width=8.0)
        for axes, metric in zip(cells, METRICS, strict=True):
            _panel(axes, metric, lines)
        label_ends(cells[1])
    return figure


def training_curve(
    networks: Mapping[str, Runs],
    metric: str,
    *,
    control: Runs | None = None,
    width: float = 4.0,
    height: float = 3.0,
) -> Figure:
    """Draw ``val/accuracy`` (%) or ``train/loss`` by epoch: a line for each network and one for the control.

    The loss of a distilled network has other terms than the control's, so compare its course, not its height. With
    several seeds, the line is their mean and the band goes from the lowest to the highest, over the epochs that all
    seeds have reached. ``width`` and ``height`` are inches.
    """
    with styled():
        figure, axes = canvas(width=width, height=height)
        _panel(axes, metric, _lines(networks, control))
        label_ends(axes)
    return figure


def _lines(networks: Mapping[str, Runs], control: Runs | None) -> list[Line]:
    lines: list[Line] = [
        (label, seeds(runs, dict), look(place)) for place, (label, runs) in enumerate(networks.items())
    ]
    if control is not None:
        lines.append((BESIDE[0], seeds(control, dict), CONTROL))
    return lines


def _panel(axes: Axes, metric: str, lines: Sequence[Line]) -> None:
    label, factor = METRICS[metric]
    for name, runs, style in lines:
        _curve(axes, metric, factor, name, runs, style)
    axes.set_ylabel(label)
    whole_numbers(axes, "epoch")
    if factor == 100.0:
        percent_axis(axes)


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
