"""Figures of the loss's curvature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import t

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.dots import Panel, dot_panels, known
from kdbias.report.lines import whole_numbers
from kdbias.report.networks import NetworkLines, Runs, images, networks
from kdbias.report.over_training import scalars, validation
from kdbias.report.rows import offsets, row_axes
from kdbias.report.style import INK, REFERENCE, canvas, card, legend_beside, look, styled
from kdbias.stats import Estimate

POINTS, WIDTH = 1024, 0.008  # of the density: points of the grid, and width of a bell relative to the axis


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the trace with related numbers, and the extreme eigenvalues and the spectrum if they were computed.

    ``control`` names the same student without teacher, ``initial`` the untrained one.
    """
    drawn = {"hessian": trace(results, control=control, initial=initial)}
    found = networks(results, control, initial)
    for name, key, draw in (
        ("hessian-eigenvalues", "eigenvalues_top", eigenvalues),
        ("hessian-density", "density_nodes", density),
    ):
        having = [network for network in found if all(key in run.arrays for run in network.runs)]
        if having:
            drawn[name] = draw(having)
    return drawn


def trace(results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None) -> Figure:
    """Draw a row for each network: the trace with its 95 % interval over random vectors, and its companions."""
    panels = [
        Panel("Hessian trace (nats)", _trace),
        Panel("mean eigenvalue × ‖w‖²\n(nats)", _scalar("trace_scaled")),
        Panel("loss on these images\n(nats)", _scalar("loss")),
        Panel("norm of the gradient", _scalar("gradient_norm")),
    ]
    found = networks(results, control, initial)
    vectors = sorted({int(run.meta["vectors"]) for network in found for run in network.runs})
    count = f"{vectors[0]}" if len(vectors) == 1 else f"{vectors[0]} to {vectors[-1]}"
    title = f"{images(found)}; bars: 95 % over {count} random vectors"
    return dot_panels(results, panels, control=control, initial=initial, title=title)


def eigenvalues(found: Sequence[NetworkLines]) -> Figure:
    """Draw a row for each network: its largest and most negative eigenvalues, the seeds one above the other."""
    with styled():
        longest = max(len(network.counted) for network in found)
        figure, axes = canvas(width=4.6 + 0.07 * longest, height=1.2 + 0.36 * len(found))
        for row, network in enumerate(found):
            colour = {"color": network.style["color"]}
            face = {"markerfacecolor": network.style.get("markerfacecolor", network.style["color"])}
            for run, offset in zip(network.runs, offsets(len(network.runs)), strict=True):
                for key, marker, size in (("eigenvalues_top", "o", 5), ("eigenvalues_bottom", "|", 8)):
                    values = run.arrays[key]
                    height = np.full(len(values), row + offset)
                    axes.plot(values, height, marker, markersize=size, markeredgewidth=1.2, **colour, **face)
        axes.axvline(0, **REFERENCE)
        row_axes(axes, [network.counted for network in found])
        k = len(found[0].runs[0].arrays["eigenvalues_top"])
        axes.set(xlabel="eigenvalue of the Hessian (nats)", title=images(found))
        kinds = (("o", f"{k} largest"), ("|", f"{k} most negative"))
        handles = [Line2D([], [], color=INK, linestyle="", marker=marker, label=label) for marker, label in kinds]
        legend_beside(axes, handles)
    return figure


def density(found: Sequence[NetworkLines]) -> Figure:
    """Draw the spectral density of each network on a logarithmic axis, as the mean over seeds.

    One of all P eigenvalues alone gives a bell as high as the grey line. Lower values are tails of bells.
    """
    with styled():
        figure, axes = canvas(width=7.2)
        nodes = np.concatenate([run.arrays["density_nodes"].ravel() for network in found for run in network.runs])
        span = float(nodes.max() - nodes.min()) or 1.0
        grid = np.linspace(nodes.min() - 0.04 * span, nodes.max() + 0.04 * span, POINTS)
        sigma = WIDTH * span
        highest = 0.0
        for network in found:
            curve = np.mean([bells(run, grid, sigma) for run in network.runs], axis=0)
            highest = max(highest, float(curve.max()))
            style = {key: value for key, value in network.style.items() if not key.startswith("marker")}
            axes.plot(grid, curve, label=network.counted, **style)
        parameters = max(run.meta["parameters"] for network in found for run in network.runs)
        one = 1 / (parameters * sigma * (2 * np.pi) ** 0.5)
        axes.axhline(one, **REFERENCE)
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.5}
        axes.annotate("one eigenvalue", (1.01, one), color=REFERENCE["color"], **beside)
        axes.set_yscale("log")
        axes.set_ylim(one / 10, 5 * highest)
        axes.set(xlabel="eigenvalue of the Hessian (nats)", ylabel="density (1/nats)", title=images(found))
        legend_beside(axes)
    return figure


def bells(result: Result, grid: npt.NDArray[Any], sigma: float) -> npt.NDArray[Any]:
    """Give the density (1/nats) on ``grid`` ``(n,)`` (nats).

    Each node of the quadrature becomes a Gaussian of width ``sigma`` (nats); the starts are averaged.
    """
    nodes, weights = result.arrays["density_nodes"], result.arrays["density_weights"]
    heights = np.exp(-0.5 * ((grid[:, None, None] - nodes) / sigma) ** 2) * weights
    total: npt.NDArray[Any] = heights.sum((1, 2)) / (len(nodes) * sigma * (2 * np.pi) ** 0.5)
    return total


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's trace and extreme eigenvalues over training, from a ``ProbeCallback``'s Results in order."""
    epochs = [result.meta["epoch"] for result in results]
    with styled():
        figure, (upper, lower) = card(2, height=2.5)
        arms = [_arm(result) for result in results]
        traces = [result.scalars["trace"] for result in results]
        upper.errorbar(epochs, traces, yerr=arms, markersize=3, capsize=2, **look(0))
        bars = f"bars: 95 % over {results[-1].meta['vectors']} random vectors"
        upper.set(ylabel="Hessian trace (nats)", title=f"{validation(results)};\n{bars}")
        ends = {"top": "largest", "bottom": "most negative"}
        there = {key: name for key, name in ends.items() if all(key in result.scalars for result in results)}
        scalars(lower, results, there)
        lower.axhline(0, **REFERENCE)
        lower.set(ylabel="eigenvalue (nats)")
        if lower.get_legend_handles_labels()[0]:
            lower.legend()
        whole_numbers(upper, "epoch")
    return figure


def _trace(result: Result) -> Estimate:
    value, arm = result.scalars["trace"], _arm(result)
    return Estimate(value, value - arm, value + arm)


def _arm(result: Result) -> float:
    """Give half the 95 % interval of the trace, by Student's t over the vectors."""
    return float(t.ppf(0.975, result.meta["vectors"] - 1)) * result.scalars["trace_se"]


def _scalar(key: str) -> Any:
    return lambda result: known(result.scalars[key])
