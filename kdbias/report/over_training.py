"""Lines over the epochs of a ``ProbeCallback``'s Results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from kdbias.probes.base import Result
from kdbias.report.lines import whole_numbers
from kdbias.report.networks import Array, NetworkLines, epoch_name
from kdbias.report.style import INITIAL, look


def scalars(
    axes: Axes, results: Sequence[Result], names: Mapping[str, str], scale: float = 1.0, first: int = 0
) -> None:
    """Draw scalars of one network over epochs; ``names`` are their labels, ``first`` the number of the first style."""
    epochs = [result.meta["epoch"] for result in results]
    for place, (key, label) in enumerate(names.items(), first):
        axes.plot(epochs, [scale * result.scalars[key] for result in results], label=label, **look(place))
    whole_numbers(axes, "epoch")


def series(axes: Axes, results: Sequence[Result], named: Iterable[tuple[str, Array]]) -> None:
    """Draw values ``(len(results),)`` over epochs, from light to dark."""
    epochs, drawn = [result.meta["epoch"] for result in results], list(named)
    for (label, values), colour in zip(drawn, shades(len(drawn)), strict=True):
        axes.plot(epochs, values, label=label, color=colour, marker="o", markersize=3)
    whole_numbers(axes, "epoch")


def epochs(results: Sequence[Result]) -> list[NetworkLines]:
    """Give a line for each epoch, from light to dark, with the untrained network in its own style."""
    return [
        NetworkLines(
            epoch_name(result),
            [result],
            {"color": colour, "marker": "o", "markersize": 3} if result.meta["epoch"] else INITIAL,
        )
        for result, colour in zip(results, shades(len(results)), strict=True)
    ]


def some(count: int, most: int) -> list[int]:
    """Give up to ``most`` of ``count`` positions, evenly spaced, with the first and the last."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def shades(count: int) -> Any:
    """Give colours from light to dark, ``(count, 4)``."""
    return mpl.colormaps["viridis_r"](np.linspace(0.12, 1.0, count))


def validation(results: Sequence[Result]) -> str:
    """Say on how many images the last Result was measured."""
    return f"{results[-1].meta['n']:,} validation images"
