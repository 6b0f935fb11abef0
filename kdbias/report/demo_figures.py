"""The figures of the demo, each with its result in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.report.attention import distance_by_layer
from kdbias.report.cues import cue_accuracies, shape_and_texture, shape_shares
from kdbias.report.curves import Metrics, by_epoch, training_curve
from kdbias.report.demo_results import MEASURES, DemoResults
from kdbias.report.page import Panel

WIDTH, HEIGHT = 4.0, 3.0  # inches of a panel: two beside each other on a page, one on a phone


def demo_panels(measured: DemoResults) -> dict[str, Panel]:
    """Draw the figures of the page, by file name."""
    cues = {name: [n.cues for n in of] for name, of in measured.networks.items()}
    tests = {name: [n.test for n in of] for name, of in measured.networks.items()}
    attention, size = measured.attention, {"width": WIDTH, "height": HEIGHT}
    drawn = {
        "shape-share": (shape_shares(cues, control="control", **size), _shares(measured)),
        "accuracy": (cue_accuracies(cues, tests, control="control", **size), _accuracies(measured)),
        "attention": (
            distance_by_layer(
                {"student": attention["student"]},
                control=attention["control"],
                initial=measured.untrained,
                width=4.4,
                height=HEIGHT,
            ),
            _attention(measured),
        ),
        "training-accuracy": (_curve(measured, "val/accuracy"), _course(measured, "val/accuracy", 100.0, " %")),
        "training-loss": (_curve(measured, "train/loss"), _course(measured, "train/loss", 1.0, "")),
    }
    return {name: Panel(figure, says) for name, (figure, says) in drawn.items()}


def demo_figure(measured: DemoResults) -> Figure:
    """Draw shape share and accuracies side by side, as a figure of its own."""
    cues = {name: [n.cues for n in of] for name, of in measured.networks.items()}
    tests = {name: [n.test for n in of] for name, of in measured.networks.items()}
    return shape_and_texture(cues, tests, control="control")


def _curve(measured: DemoResults, metric: str) -> Figure:
    runs: Mapping[str, Sequence[Metrics]] = {name: [n.metrics for n in of] for name, of in measured.networks.items()}
    taught = {name: runs[name] for name in ("student", "teacher")}
    return training_curve(taught, metric, control=runs["control"], width=WIDTH, height=HEIGHT)


def _shares(measured: DemoResults) -> str:
    return f"Bars: decisions for the shape. {_by_network(measured.shares)}. Half is marked by a line."


def _accuracies(measured: DemoResults) -> str:
    groups = [f"with {cue}: {_by_network(measured.accuracies(of))}" for cue, of in MEASURES.items()]
    guess = 100 / int(measured.teacher.test.meta["classes"])
    return f"Bars: accuracy {'; '.join(groups)}. Guessing gives {guess:.3g} %."


def _attention(measured: DemoResults) -> str:
    runs = {**measured.attention, "untrained": [measured.untrained]}
    layers = {
        name: np.mean([run.arrays["distance"].mean(1) for run in results], axis=0) for name, results in runs.items()
    }
    lines = [f"{name} {', '.join(f'{value:.2f}' for value in values)}" for name, values in layers.items()]
    uniform = float(measured.untrained.arrays["uniform_distance"])
    return (
        "Lines: mean attention distance of each layer, from the first to the last, in patches. "
        f"{'; '.join(lines)}. Uniform attention: {uniform:.2f}."
    )


def _course(measured: DemoResults, metric: str, scale: float, unit: str) -> str:
    said = []
    for name, of in measured.networks.items():
        curves = [by_epoch(network.metrics, metric)[1] for network in of]
        first, last = (scale * float(np.mean([curve[place] for curve in curves])) for place in (0, -1))
        said.append(f"{name} from {first:.3g} to {last:.3g}{unit}")
    what = "validation accuracy" if metric == "val/accuracy" else "training loss"
    return f"Lines: {what} from the first to the last epoch. {', '.join(said)}."


def _by_network(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items())
