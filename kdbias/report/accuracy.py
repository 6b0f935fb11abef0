"""Figures of accuracy: scores, confusion matrices, ROC and reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.dots import Panel, dot_panels, known
from kdbias.report.images import colour_bar, matrix
from kdbias.report.lines import draw, percent_axis
from kdbias.report.networks import Runs, images, named, networks, sample
from kdbias.report.over_training import scalars, validation
from kdbias.report.style import REFERENCE, canvas, card, legend_beside, panel_grid, seeds, styled
from kdbias.stats import Estimate, accuracy

BINS = 15  # of confidence, as in the calibration error
FEW = 10  # images: bins with fewer have no point
NAMED = 20  # classes: beyond, a confusion matrix has neither names nor numbers
RATES = np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.1, 1, 91)[1:]])


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw accuracy and related scores with intervals, confusion matrices, ROC and reliability diagrams."""
    return {
        "accuracy": _scores(results, control, initial),
        "accuracy-confusion": confusion({named(name, control, initial): runs for name, runs in results.items()}),
        "accuracy-roc": roc(results, control=control, initial=initial),
        "accuracy-reliability": reliability(results, control=control, initial=initial),
    }


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's accuracy and calibration over training, from the Results of a ``ProbeCallback`` in order."""
    with styled():
        figure, (upper, lower) = card(2, height=2.5)
        scalars(upper, results, {"accuracy": "accuracy", "f1": "macro F1"}, 100)
        upper.set(ylabel="accuracy, macro F1 (%)", title=validation(results))
        percent_axis(upper)
        upper.legend()
        scalars(lower, results, {"ece": "calibration error"}, 100, first=2)
        lower.set(ylabel="calibration error (%)")
        lower.set_ylim(bottom=0)
    return figure


def confusion(results: Mapping[str, Runs]) -> Figure:
    """Draw each network's confusion matrix, in percent of the true class (rows), on one colour scale."""
    with styled():
        figure, cells = panel_grid(len(results), 3, width=3.7, height=3.6)
        figure.set_layout_engine("compressed")
        for axes, (name, runs) in zip(cells, results.items(), strict=True):
            image = _matrix(axes, seeds(runs, Result), name)
        colour_bar(figure, image, cells, "answers (% of the true class)")
    return figure


def roc(results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None) -> Figure:
    """Draw the one-vs-rest ROC of each network, the mean over classes.

    With several seeds, the line is their mean and the band goes from the lowest to the highest. The right panel shows
    false positive rates up to .1.
    """
    found = networks(results, control, initial)
    with styled():
        figure, cells = canvas(1, 2, width=8.6, height=3.3)
        for network in found:
            curves = np.stack([mean_roc(run) for run in network.runs])
            area = np.mean([run.scalars["auc"] for run in network.runs])
            shown = replace(network, label=f"{network.label}, AUC {area:.3f}")
            for axes in cells:
                draw(axes, RATES, shown, curves, markers=False)
        for axes in cells:
            axes.plot([0, 1], [0, 1], label="chance", **REFERENCE)
            axes.set_xlabel("false positive rate")
        cells[0].set(ylabel="true positive rate, mean over classes", xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        cells[0].set_title(f"one class against the rest\n{images(found)}")
        cells[1].set(
            xlim=(-0.001, 0.101),
            ylim=(-0.01, 1.03),
            title="the same,\nfew false positives",
            ylabel="true positive rate",
        )
        legend_beside(cells[1])
    return figure


def mean_roc(run: Result) -> npt.NDArray[np.float64]:
    """Give the mean true positive rate over classes at ``RATES``, ``(len(RATES),)``.

    Classes without images do not count.
    """
    pairs = zip(run.arrays["roc_fpr"], run.arrays["roc_tpr"], strict=True)
    curves = [np.interp(RATES, false, true) for false, true in pairs if not np.isnan(true).any()]
    return np.asarray(np.mean(curves, axis=0), dtype=np.float64)


def reliability(results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None) -> Figure:
    """Draw the accuracy at each confidence, and below it the share of images with that confidence; seeds are pooled."""
    with styled():
        figure, (upper, lower) = canvas(2, 1, width=6.0, height=4.6)
        edges = np.linspace(0, 1, BINS + 1)
        upper.plot([0, 1], [0, 1], label="as sure as right", **REFERENCE)
        for network in networks(results, control, initial):
            sure, right, share = bins(network.runs)
            error, style = np.mean([run.scalars["ece"] for run in network.runs]), network.style
            upper.plot(sure, right, label=f"{network.label}, ECE {100 * error:.1f} %", **style)
            lower.stairs(100 * share, edges, color=style["color"], linestyle=style.get("linestyle", "-"), linewidth=1.3)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right answers", title=sample(results))
        lower.set(xlim=(0, 1), xlabel="confidence: probability of the answer", ylabel="images (%)")
        lower.set_ylim(bottom=0)
        legend_beside(upper)
    return figure


def bins(runs: Sequence[Result]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Give each bin's mean confidence, its share of right answers, and its share of all images.

    Each is ``(BINS,)``, in 0..1. The first two are NaN in a bin with fewer than ten images.
    """
    confidence = np.concatenate([run.arrays["confidence"] for run in runs]).astype(np.float64)
    right = np.concatenate([run.arrays["right"] for run in runs])
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        sure = np.where(count >= FEW, np.bincount(place, confidence, BINS) / count, np.nan)
        share = np.where(count >= FEW, np.bincount(place, right, BINS) / count, np.nan)
    return sure, share, count / count.sum()


def top5(run: Result) -> Estimate:
    """Give top-5 accuracy with its interval over images; refused with five classes or fewer."""
    if "top5" not in run.scalars:
        return Estimate.refuse("five classes or fewer")
    n = int(run.meta["n"])
    return accuracy(np.arange(n) < round(run.scalars["top5"] * n))


def _scores(results: Mapping[str, Runs], control: str | None, initial: str | None) -> Figure:
    panels = [
        Panel("accuracy (%)", lambda run: accuracy(run.arrays["right"]), 100.0),
        Panel("top-5 accuracy (%)", top5, 100.0),
        Panel("macro F1 (%)", lambda run: known(run.scalars["f1"]), 100.0),
        Panel("calibration error (%)", lambda run: known(run.scalars["ece"]), 100.0),
        Panel("loss (nats)", lambda run: known(run.scalars["loss"])),
    ]
    shown = [panel for panel in panels if any(not panel.value(run).refused for run in _all(results))]
    title = f"{sample(results)}, 95 % intervals over images"
    return dot_panels(results, shown, control=control, initial=initial, title=title)


def _all(results: Mapping[str, Runs]) -> list[Result]:
    return [run for runs in results.values() for run in seeds(runs, Result)]


def _matrix(axes: Axes, runs: Sequence[Result], name: str) -> AxesImage:
    counts = np.sum([run.arrays["confusion"] for run in runs], axis=0, dtype=np.float64)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(share) <= NAMED
    image = matrix(axes, share, colours="Blues", top=100, size=6, digits=0 if few else None, least=0.5)
    axes.set(xlabel="answer", ylabel="true class")
    size = f"n = {int(counts.sum()) // len(runs):,}" + (f", {len(runs)} seeds" if len(runs) > 1 else "")
    axes.set_title(f"{name}\n{100 * np.trace(counts) / counts.sum():.1f} % right, {size}")
    if few:
        names = runs[0].meta.get("names", [str(i) for i in range(len(share))])
        axes.set_xticks(range(len(share)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(share)), names, fontsize=7)
    return image
