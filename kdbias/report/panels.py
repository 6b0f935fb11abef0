"""Panels that compare networks: attention of heads and layers, CKA with the last layer, curvature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from kdbias.probes.base import Result
from kdbias.report.dots import known
from kdbias.report.lines import by_layer, draw, draw_layers, uniform
from kdbias.report.networks import NetworkLines
from kdbias.report.rows import arm, offsets, row_axes
from kdbias.report.style import REFERENCE
from kdbias.stats import Estimate

Groups = Mapping[str, Sequence[Result]]
"""Results of one probe by network, one for each seed."""
Networks = Sequence[NetworkLines]
Panel = Callable[[Axes, Networks], None]


def heads(axes: Axes, found: Networks) -> None:
    """Draw the distances (patches) of all heads of all layers, sorted within each seed."""
    alike = len({run.arrays["distance"].size for network in found for run in network.runs}) == 1
    for network in found:
        y = np.stack([np.sort(run.arrays["distance"].ravel()) for run in network.runs])
        x = np.arange(1, y.shape[1] + 1) if alike else (np.arange(y.shape[1]) + 0.5) / y.shape[1] * 100
        draw(axes, x, network, y, markers=False)
    uniform(axes, found, "uniform_distance", "uniform attention")
    head = "head, sorted by distance" if alike else "heads, sorted by distance (%)"
    axes.set(xlabel=head, ylabel="attention distance (patches)")
    if not alike:
        axes.set_xlim(0, 100)


def layers(axes: Axes, found: Networks, key: str = "distance") -> None:
    """Draw the mean attention ``distance`` (patches) or ``entropy`` (nats) of each layer."""
    by_layer(axes, found, key)
    uniform(axes, found, f"uniform_{key}", "uniform attention")
    axes.set_ylabel(f"mean attention {key} ({'patches' if key == 'distance' else 'nats'})")


def last_layer(axes: Axes, found: Networks) -> None:
    """Draw the CKA of each layer with the last one."""
    draw_layers(axes, found, {network.label: network.values("cka")[:, :, -1] for network in found})
    axes.axhline(0, **REFERENCE)
    axes.set_ylabel("CKA with the last layer")
    axes.set_ylim(top=1.02)


def curvature(axes: Axes, found: Networks, key: str = "trace") -> None:
    """Draw a scalar of the Hessian in a row for each network: seeds, with a standard error if known, and their mean."""
    drawn: list[float] = []
    for place, network in enumerate(found):
        values = [run.scalars[key] for run in network.runs]
        drawn += values
        for offset, run in zip(offsets(len(values), 0.16), network.runs, strict=True):
            arm(axes, _with_error(run, key), place + offset, {**network.style, "marker": "o"})
        if len(values) > 1:
            across = [place - 0.32, place + 0.32]
            axes.plot([np.mean(values)] * 2, across, color=network.style["color"], linewidth=1.5)
    row_axes(axes, [network.counted for network in found])
    if min(drawn) > 0 and max(drawn) > 30 * min(drawn):
        axes.set_xscale("log")
    elif min(drawn) <= 0 <= max(drawn):
        axes.axvline(0, **REFERENCE)
    axes.set_xlabel("Hessian trace ± s.e.")


def _with_error(run: Result, key: str) -> Estimate:
    value, error = run.scalars[key], run.scalars.get(f"{key}_se")
    return known(value) if error is None else Estimate(value, value - error, value + error)
