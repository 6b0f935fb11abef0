"""Figures of shape and texture: which cue decides, and the accuracy with each cue alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.lines import chance
from kdbias.report.style import COLOURS, INK, REFERENCE, canvas, styled
from kdbias.stats import Estimate, accuracy

CONTROL: Mapping[str, Any] = {"facecolor": "white", "edgecolor": INK, "linewidth": 0.9}


def share(result: Result) -> Estimate:
    """Give the shape share of a ``CueProbe``'s Result, with its interval over the images decided for either cue."""
    decided = result.arrays["decided"]
    if not decided.any():
        return Estimate.refuse("it decides for neither cue on any image")
    return accuracy(result.arrays["by_shape"][decided])


def shape_and_texture(
    networks: Mapping[str, Sequence[Result]], tests: Mapping[str, Sequence[Result]], *, control: str = ""
) -> Figure:
    """Draw the shape share (%) of each network, and its accuracy (%) with both cues, shape alone and texture alone.

    ``networks`` holds the Results of a ``CueProbe`` and ``tests`` those of an ``AccuracyProbe`` on images whose cues
    agree; both hold, by name, one Result for each seed. ``control`` names the control. For the shape share, each seed
    has a bar with its 95 % interval over images. Accuracies are means over seeds, with a dot for each seed.
    """
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.0, height=3.3)
        styles = {name: CONTROL if name == control else _bar(place) for place, name in enumerate(networks)}
        _shares(left, networks, styles)
        _accuracies(right, networks, tests, styles)
        figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def _bar(place: int) -> dict[str, Any]:
    return {"facecolor": COLOURS[place % len(COLOURS)], "edgecolor": "none"}


def _shares(axes: Axes, networks: Mapping[str, Sequence[Result]], styles: Mapping[str, Mapping[str, Any]]) -> None:
    for place, (name, results) in enumerate(networks.items()):
        width = 0.8 / len(results)
        for seed, result in enumerate(results):
            x = place + (seed - (len(results) - 1) / 2) * width
            found = share(result)
            axes.bar(x, 100 * found.value, 0.88 * width, **styles[name])
            arms = np.array([[found.value - found.low], [found.high - found.value]])
            axes.errorbar(x, 100 * found.value, yerr=100 * arms, color=INK, linewidth=1, capsize=2.5)
    axes.axhline(50, **REFERENCE)
    axes.set_xticks(range(len(networks)), _labels(networks))
    axes.set_ylabel("decided for the shape (%)")
    axes.set_title("where shape and texture disagree")
    axes.set_ylim(0, 104)


def _accuracies(
    axes: Axes,
    networks: Mapping[str, Sequence[Result]],
    tests: Mapping[str, Sequence[Result]],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    width = 0.8 / len(networks)
    for place, (name, results) in enumerate(networks.items()):
        scores = [
            [100 * result.scalars["accuracy"] for result in tests[name]],
            *([100 * result.scalars[f"accuracy_{cue}"] for result in results] for cue in ("shape", "texture")),
        ]
        for group, values in enumerate(scores):
            x = group + (place - (len(networks) - 1) / 2) * width
            axes.bar(x, np.mean(values), 0.88 * width, label=name if group == 0 else None, **styles[name])
            if len(values) > 1:
                axes.plot([x] * len(values), values, "o", color=INK, markersize=2.5)
    classes = int(next(iter(tests.values()))[0].meta["classes"])
    chance(axes, {classes})
    axes.set_xticks(range(3), ["both cues", "shape alone", "texture alone"])
    axes.set_ylabel("accuracy (%)")
    axes.set_title("how far each cue carries")
    axes.set_ylim(0, 104)
    axes.legend(loc="upper right", ncols=len(networks), fontsize=7.5, bbox_to_anchor=(1.0, 1.02))


def _labels(networks: Mapping[str, Sequence[Result]]) -> list[str]:
    return [name if len(results) == 1 else f"{name}\n({len(results)} seeds)" for name, results in networks.items()]
