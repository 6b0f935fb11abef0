"""A line for each network, with its band over seeds or images, and reference levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdbias.report.named_level import named_level
from kdbias.report.networks import Array, NetworkLines


def band(axes: Axes, x: Array, y: Array, label: str, style: Mapping[str, Any], interval: Array | None = None) -> None:
    """Draw the mean of ``y`` ``(seeds, len(x))`` with the band from the lowest to the highest seed.

    The band of a single run is its ``interval`` ``(1, len(x), 2)``, if there is one.
    """
    low = high = None
    if len(y) > 1:
        low, high = y.min(0), y.max(0)
    elif interval is not None:
        low, high = interval[0, :, 0], interval[0, :, 1]
    if low is not None and high is not None:
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, y.mean(0), label=label, **style)


def draw(
    axes: Axes, x: Array, network: NetworkLines, y: Array, interval: Array | None = None, *, markers: bool = True
) -> None:
    """Draw a network's line ``y`` ``(seeds, len(x))`` with its ``band``, with or without ``markers``."""
    style = network.style if markers else {**network.style, "marker": ""}
    band(axes, x, y, network.counted, style, interval)


def bands(found: Sequence[NetworkLines]) -> str:
    """Say what the bands of ``draw`` are if single runs have an interval over images."""
    several, single = any(len(n.runs) > 1 for n in found), any(len(n.runs) == 1 for n in found)
    kinds = ["lowest to highest seed"] * several + ["95 % over images"] * single
    return f"bands: {', '.join(kinds)}"


def chance(axes: Axes, classes: set[int]) -> None:
    """Draw a named line at the accuracy of guessing (%), unless networks differ in classes; the axis is 0 to 100 %."""
    if len(classes) == 1:
        floor = 100 / next(iter(classes))
        named_level(axes, floor, f"chance, {floor:.3g} %")
    percent_axis(axes)


def percent_axis(axes: Axes) -> None:
    """Let the y axis go from 0 to 100 %, with all that is drawn at its ends whole."""
    axes.set_ylim(0, 100)
    for artist in axes.get_children():
        if isinstance(artist, Line2D | LineCollection):
            artist.set_clip_on(False)


def classes(found: Sequence[NetworkLines]) -> set[int]:
    """Give the numbers of classes of the networks' Results."""
    return {run.meta["classes"] for network in found for run in network.runs}


def uniform(axes: Axes, found: Sequence[NetworkLines], key: str, text: str, digits: int = 2) -> None:
    """Draw a named line for uniform attention (array ``key``); the axis covers it and what is drawn, not 0.

    Networks with different grids have a line for each value.
    """
    for value in sorted({round(float(run.arrays[key]), 6) for network in found for run in network.runs}):
        named_level(axes, value, f"{text}, {value:.{digits}f}")
        axes.update_datalim([(0.0, value)], updatex=False)
    axes.margins(y=0.12)
    axes.autoscale_view()


def whole_numbers(axes: Axes, label: str) -> None:
    """Name the x axis and put its ticks at whole numbers: epochs, pixels."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def by_layer(axes: Axes, found: Sequence[NetworkLines], key: str) -> None:
    """Draw the mean over heads of an array ``(layers, heads)`` by layer, or by depth if networks differ in depth."""
    draw_layers(axes, found, {network.label: network.values(key).mean(2) for network in found})


def draw_layers(axes: Axes, found: Sequence[NetworkLines], values: Mapping[str, Array]) -> None:
    """Draw values ``(seeds, layers)`` of each network, by label, over its layers or over relative depth."""
    depths = {y.shape[1] for y in values.values()}
    for network in found:
        y = values[network.label]
        draw(axes, layer_axis(axes, y.shape[1], depths), network, y)


def layer_axis(axes: Axes, count: int, depths: set[int]) -> Array:
    """Give the x values of ``count`` layers, ``(count,)``: numbers, or relative depth if networks differ in depth."""
    if len(depths) > 1:
        axes.set_xlabel("depth (0 first, 1 last layer)")
        return np.linspace(0, 1, count) if count > 1 else np.ones(1)
    axes.set_xlabel("layer")
    axes.set_xticks(ticks(count))
    return np.arange(count)


def ticks(count: int) -> list[int]:
    """Give the numbers of the layers that have a tick; if there are many, every second or every fourth."""
    return list(range(0, count, 1 if count <= 13 else 2 if count <= 24 else 4))
