"""Figures of shape and texture: which cue decides, and the accuracy with each cue alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.lines import percent_axis
from kdbias.report.style import COLOURS, INK, QUIET, REFERENCE, canvas, styled
from kdbias.stats import Estimate, accuracy

CONTROL: Mapping[str, Any] = {"facecolor": "white", "edgecolor": INK, "linewidth": 0.9}
Networks = Mapping[str, Sequence[Result]]
Styles = Mapping[str, Mapping[str, Any]]


def share(result: Result) -> Estimate:
    """Give the shape share of a ``CueProbe``'s Result, with its interval over the images decided for either cue."""
    decided = result.arrays["decided"]
    if not decided.any():
        return Estimate.refuse("it decides for neither cue on any image")
    return accuracy(result.arrays["by_shape"][decided])


def shape_and_texture(networks: Networks, tests: Networks, *, control: str = "") -> Figure:
    """Draw ``shape_shares`` and ``cue_accuracies`` side by side."""
    with styled():
        figure, (left, right) = canvas(1, 2, width=8.0, height=3.3)
        _shares(left, networks, _styles(networks, control))
        _accuracies(right, networks, tests, _styles(networks, control))
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=len(networks))
        figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def shape_shares(networks: Networks, *, control: str = "", width: float = 4.0, height: float = 3.0) -> Figure:
    """Draw the shape share (%) of each network, from Results of a ``CueProbe``, by name, one for each seed.

    Each seed has a bar with its 95 % interval over images. ``control`` names the control. ``width`` and ``height`` are
    inches.
    """
    with styled():
        figure, axes = canvas(width=width, height=height)
        _shares(axes, networks, _styles(networks, control))
    return figure


def cue_accuracies(
    networks: Networks, tests: Networks, *, control: str = "", width: float = 4.0, height: float = 3.0
) -> Figure:
    """Draw each network's accuracy (%) with both cues, shape alone and texture alone: means, with a dot for each seed.

    ``networks`` holds the Results of a ``CueProbe`` and ``tests`` those of an ``AccuracyProbe`` on images whose cues
    agree; both hold, by name, one Result for each seed. ``control`` names the control.
    """
    with styled():
        figure, axes = canvas(width=width, height=height)
        _accuracies(axes, networks, tests, _styles(networks, control))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(networks))
    return figure


def _styles(networks: Networks, control: str) -> Styles:
    return {name: CONTROL if name == control else _bar(place) for place, name in enumerate(networks)}


def _bar(place: int) -> dict[str, Any]:
    """The colour of a bar; colours repeat after six, with another hatching each time."""
    again, colour = divmod(place, len(COLOURS))
    hatching = {"hatch": "/" * (2 * again), "edgecolor": "white"} if again else {"edgecolor": "none"}
    return {"facecolor": COLOURS[colour], **hatching}


def _shares(axes: Axes, networks: Networks, styles: Styles) -> None:
    for place, (name, results) in enumerate(networks.items()):
        width = 0.8 / len(results)
        for seed, result in enumerate(results):
            x = place + (seed - (len(results) - 1) / 2) * width
            found = share(result)
            axes.bar(x, 100 * found.value, 0.88 * width, **styles[name])
            arms = np.array([[found.value - found.low], [found.high - found.value]])
            axes.errorbar(x, 100 * found.value, yerr=100 * arms, color=INK, linewidth=1, capsize=2.5)
    _level(axes, 50, "one half")
    axes.set_xticks(range(len(networks)), _labels(networks))
    axes.set_ylabel("decided for the shape (%)")
    axes.set_title("where shape and texture disagree")
    percent_axis(axes)


def _accuracies(axes: Axes, networks: Networks, tests: Networks, styles: Styles) -> None:
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
    _level(axes, 100 / classes, f"chance,\n{100 / classes:.3g} %")
    axes.set_xticks(range(3), ["both cues", "shape alone", "texture alone"])
    axes.set_ylabel("accuracy (%)")
    axes.set_title("how far each cue carries")
    percent_axis(axes)


def _level(axes: Axes, value: float, text: str) -> None:
    """Draw a line at ``value``, with its name right of the axes, since bars fill them."""
    axes.axhline(value, **REFERENCE)
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (1.0, value), xytext=(4, 0), color=QUIET, fontsize=7.5, annotation_clip=False, **beside)


def _labels(networks: Networks) -> list[str]:
    return [name if len(results) == 1 else f"{name}\n({len(results)} seeds)" for name, results in networks.items()]
