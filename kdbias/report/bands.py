"""What figures of several networks and seeds share: a line with its band, how many seeds, how many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes

from kdbias.probes.base import Result
from kdbias.report.style import seeds

Runs = Result | Sequence[Result]
"""One run of a network, or several seeds of it."""
Array = npt.NDArray[Any]


def band(axes: Axes, x: Array, y: Array, label: str, style: Mapping[str, Any], interval: Array | None = None) -> None:
    """Draw the mean of ``y`` ``(seeds, len(x))`` with the band from the lowest to the highest seed.

    Of a single run the band is its ``interval`` ``(1, len(x), 2)``, where there is one.
    """
    low = high = None
    if len(y) > 1:
        low, high = y.min(0), y.max(0)
    elif interval is not None:
        low, high = interval[0, :, 0], interval[0, :, 1]
    if low is not None and high is not None:
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, y.mean(0), label=label, **style)


def counted(label: str, seen: int) -> str:
    """Give the label with the number of seeds, where there are several."""
    return label if seen == 1 else f"{label} ({seen} seeds)"


def sample(results: Mapping[str, Runs]) -> str:
    """Say how many images the Results are of: ``n = 10,000 images``, or the least and the most."""
    counts = sorted({int(run.meta["n"]) for runs in results.values() for run in seeds(runs, Result)})
    return f"n = {counts[0]:,} images" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,} images"
