"""Figures of attention distance and entropy by layer and head, and of the CLS token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report import panels
from kdbias.report.line_ends import label_ends
from kdbias.report.lines import by_layer, ticks, uniform
from kdbias.report.named_level import named_level
from kdbias.report.networks import NetworkLines, Runs, beside, images, networks
from kdbias.report.over_training import epochs, some, validation
from kdbias.report.style import REFERENCE, canvas, card, heading, legend_beside, panel_grid, styled

ACROSS = 4  # panels in a row
COLLAPSE = 0.9  # a head whose CLS token gives itself a larger weight counts as collapsed
SHOWN = 12  # epochs in a legend


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw all attention figures of several networks, by file name.

    They show distance (patches) and entropy (nats) by layer, heads sorted by distance, every head, and what the CLS
    token reads. ``control`` and ``initial`` name the control without teacher and the untrained network. With several
    seeds, a line is their mean and its band goes from the lowest to the highest.
    """
    found = networks(results, control, initial)
    drawn = {
        "attention": _alone(found, panels.layers),
        "attention-entropy": _alone(found, lambda axes, shown: panels.layers(axes, shown, "entropy")),
        "attention-sorted": _alone(found, panels.heads),
        "attention-heads": every_head(found),
    }
    if with_cls := [network for network in found if "cls_self" in network.runs[0].arrays]:
        drawn["attention-cls"] = cls_by_layer(with_cls)
    return drawn


def distance_by_layer(
    networks: Mapping[str, Runs],
    *,
    control: Runs | None = None,
    initial: Runs | None = None,
    width: float = 6.4,
    height: float = 3.1,
) -> Figure:
    """Draw the mean attention distance (patches) of each layer: a line for each network and one for uniform attention.

    ``control`` is the same student without teacher, ``initial`` the untrained one. With several seeds, the line is
    their mean and the band goes from the lowest to the highest. ``width`` and ``height`` are inches.
    """
    return _alone(beside(networks, control, initial), panels.layers, width=width, height=height)


def every_head(found: Sequence[NetworkLines]) -> Figure:
    """Draw the distance (patches) of every head, a panel for each network, and lines of uniform attention and collapse.

    With several seeds, the heads of all seeds are drawn.
    """
    with styled():
        figure, grid = panel_grid(len(found), ACROSS, width=2.2, height=2.3, aside=0.8)
        for axes, network in zip(grid, found, strict=True):
            first, colour = network.runs[0], network.style["color"]
            count = len(first.arrays["distance"])
            for run in network.runs:
                distance = run.arrays["distance"]
                x = np.repeat(np.arange(count), distance.shape[1])
                axes.plot(x, distance.ravel(), "o", markersize=3, color=colour, alpha=0.55, markeredgewidth=0)
            axes.axhline(float(first.arrays["uniform_distance"]), **REFERENCE)
            if "collapse" in first.meta:
                axes.axhline(first.meta["collapse"], **{**REFERENCE, "linestyle": (0, (2, 2))})
            axes.set(title=network.counted, xlabel="layer", ylabel="distance (patches)")
            axes.set_xticks(ticks(count)[:: 2 if count > 7 else 1])
        lowest, top = (choose(axes.get_ylim()[end] for axes in grid) for end, choose in enumerate((min, max)))
        for axes in grid:
            axes.set_ylim(lowest, top)
        lines = "lines: uniform attention, and below the dashed one a head counts as collapsed"
        heading(figure, f"{images(found)}; {lines}")
    return figure


def cls_by_layer(found: Sequence[NetworkLines]) -> Figure:
    """Draw how widely CLS reads the image (patches²) and its weight on itself, by layer, as means over heads.

    All networks must have a CLS token.
    """
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.4)
        by_layer(left, found, "cls_dispersion")
        uniform(left, found, "uniform_dispersion", "uniform attention")
        left.set(ylabel="dispersion of the CLS row (patches²)", title=images(found))
        by_layer(right, found, "cls_self")
        named_level(right, COLLAPSE, f"collapsed above {COLLAPSE}")
        right.set(ylabel="weight that CLS gives to itself", ylim=(0, 1.02))
        label_ends(right)
    return figure


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's attention distance by layer over training, from a ``ProbeCallback``'s Results in order."""
    with styled():
        figure, axes = card()
        panels.layers(axes, epochs(results))
        axes.set_title(validation(results))
        handles = axes.get_legend_handles_labels()[0]
        legend_beside(axes, [handles[place] for place in some(len(handles), SHOWN)])
    return figure


def _alone(
    found: Sequence[NetworkLines],
    panel: Callable[[Axes, Sequence[NetworkLines]], None],
    *,
    width: float = 6.4,
    height: float = 3.1,
) -> Figure:
    with styled():
        figure, axes = canvas(width=width, height=height)
        panel(axes, found)
        axes.set_title(images(found))
        label_ends(axes)
    return figure
