"""A line for each network, with bands over seeds, control and untrained network in their own styles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdbias.probes.base import Result
from kdbias.report.bands import Array, Runs, band, counted, sample
from kdbias.report.style import CONTROL, INITIAL, QUIET, REFERENCE, look, seeds

LETTERS = 15  # of a title, to an inch


@dataclass(frozen=True)
class NetworkLines:
    """One network of a figure: its name, its runs (seeds) and its style."""

    label: str
    runs: list[Result]
    style: Mapping[str, Any]

    def values(self, key: str) -> Array:
        """Give one array of all runs, ``(seeds, ...)``."""
        return np.stack([run.arrays[key] for run in self.runs])


def networks(results: Mapping[str, Runs], control: str | None = None, initial: str | None = None) -> list[NetworkLines]:
    """Give the networks of a figure, those that ``control`` and ``initial`` name last and in their styles.

    Raises:
        ValueError: there is none.
    """
    if not any(seeds(runs, Result) for runs in results.values()):
        raise ValueError("nothing to draw: no Result")
    found: list[NetworkLines] = []
    special = {control: ("control", CONTROL), initial: ("untrained", INITIAL)}
    for name, runs in results.items():
        if name not in special:
            found.append(NetworkLines(name, seeds(runs, Result), look(len(found))))
    for place, (role, style) in special.items():
        if place is not None and place in results:
            label = place if role in place else f"{place} ({role})"
            found.append(NetworkLines(label, seeds(results[place], Result), style))
    return found


def draw(axes: Axes, x: Array, network: NetworkLines, y: Array, interval: Array | None = None) -> None:
    """Draw a network's line with its ``band``."""
    band(axes, x, y, counted(network.label, len(y)), network.style, interval)


def bands(found: Sequence[NetworkLines]) -> str:
    """Say what the bands of ``draw`` are."""
    several, single = any(len(n.runs) > 1 for n in found), any(len(n.runs) == 1 for n in found)
    kinds = ["lowest to highest seed"] * several + ["95 % over images"] * single
    return f"bands: {', '.join(kinds)}"


def images(found: Sequence[NetworkLines]) -> str:
    """Give the number of images of a figure's title."""
    return sample({network.label: network.runs for network in found})


def level(axes: Axes, value: float, text: str, *, place: float = 0.99, below: bool = False) -> None:
    """Draw a reference line at the height ``value``, its name above or below it at the part ``place`` of the width."""
    axes.axhline(value, **REFERENCE)
    axes.annotate(
        text,
        (place, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, -2.5 if below else 2.5),
        textcoords="offset points",
        va="top" if below else "bottom",
        ha="right" if place > 0.5 else "left",
        color=QUIET,
        fontsize=7.5,
    )


def heading(figure: Figure, *parts: str) -> None:
    """Put a title above the whole figure, each part on lines of its own, broken where the figure ends."""
    lines = [line for part in parts for line in wrap(part, width=int(LETTERS * figure.get_figwidth()))]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=8)


def chance(found: Sequence[NetworkLines]) -> float | None:
    """Give the accuracy of guessing, in percent; None where the networks' numbers of classes differ."""
    classes = {run.meta["classes"] for network in found for run in network.runs}
    return 100 / classes.pop() if len(classes) == 1 else None


def over_epochs(axes: Axes, results: Sequence[Result], series: Iterable[tuple[str, Array]]) -> None:
    """Draw values ``(len(results),)`` over the epochs of a ``ProbeCallback``'s Results, from light to dark."""
    epochs = [result.meta["epoch"] for result in results]
    drawn = list(series)
    colours = mpl.colormaps["viridis_r"](np.linspace(0.12, 1.0, len(drawn)))
    for (label, values), colour in zip(drawn, colours, strict=True):
        axes.plot(epochs, values, label=label, color=colour, marker="o", markersize=3)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
