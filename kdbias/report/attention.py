"""Figures of attention: how far each layer and each head looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.bands import Runs, band, counted, sample
from kdbias.report.named_level import named_level
from kdbias.report.style import CONTROL, INITIAL, REFERENCE, canvas, legend_beside, look, seeds, styled

Lines = list[tuple[str, list[Result], Mapping[str, Any]]]
"""Label, seeds and style of each network that is drawn."""
ACROSS = 4  # panels in a row
COLLAPSE = 0.9  # a head whose CLS token gives itself more has collapsed


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw everything that attention shows of several networks, or seeds of them: figures by file name.

    ``control`` and ``initial`` name the entries that are the control without teacher and the untrained network.
    """
    own = {name: runs for name, runs in results.items() if name not in (control, initial)}
    beside = {
        "control": results[control] if control is not None else None,
        "initial": results[initial] if initial is not None else None,
    }
    drawn = {
        "attention": distance_by_layer(own, **beside),
        "attention-entropy": entropy_by_layer(own, **beside),
        "attention-sorted": sorted_heads(own, **beside),
        "attention-heads": heads_by_layer(own, **beside),
    }
    if any("cls_self" in seeds(runs, Result)[0].arrays for runs in results.values()):
        drawn["attention-cls"] = cls_by_layer(own, **beside)
    return drawn


def distance_by_layer(
    networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None
) -> Figure:
    """Draw the mean attention distance (patches) of each layer, a line a network, with the line of uniform attention.

    ``control`` is the same student without teacher, ``initial`` the untrained one. Of several seeds the line is the
    mean and the band goes from the lowest to the highest.
    """
    return _alone("distance", "mean attention distance (patches)", _lines(networks, control, initial))


def entropy_by_layer(
    networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None
) -> Figure:
    """Draw the mean attention entropy (nats) of each layer; at the line of uniform attention a layer looks nowhere.

    Arguments as for ``distance_by_layer``.
    """
    return _alone("entropy", "mean attention entropy (nats)", _lines(networks, control, initial))


def sorted_heads(networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None) -> Figure:
    """Draw the distances (patches) of all heads, sorted: how many look near and how many far, whatever their layer.

    Arguments as for ``distance_by_layer``; heads are sorted within each seed.
    """
    lines = _lines(networks, control, initial)
    with styled():
        figure, axes = canvas()
        for label, runs, style in lines:
            heads = np.stack([np.sort(run.arrays["distance"].ravel()) for run in runs])
            band(axes, np.arange(1, heads.shape[1] + 1), heads, counted(label, len(runs)), dict(style) | {"marker": ""})
        _reference(axes, lines, "distance")
        axes.set(xlabel="head, sorted by distance", ylabel="attention distance (patches)", title=_sample(lines))
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure


def heads_by_layer(networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None) -> Figure:
    """Draw the distance (patches) of every head, a panel a network, with the lines of uniform attention and collapse.

    Arguments as for ``distance_by_layer``; of several seeds all heads are drawn.
    """
    lines = _lines(networks, control, initial)
    columns = min(len(lines), ACROSS)
    rows = -(-len(lines) // columns)
    with styled():
        size = {"width": 2.2 * columns + 0.8, "height": 2.3 * rows + 0.3}
        figure, grid = canvas(rows, columns, squeeze=False, **size)
        for axes, (label, runs, style) in zip(grid.flat, lines, strict=False):
            for run in runs:
                distance = run.arrays["distance"]
                x = np.repeat(_layers(run), distance.shape[1])
                axes.plot(x, distance.ravel(), "o", markersize=3, color=style["color"], alpha=0.55, markeredgewidth=0)
            axes.axhline(float(runs[0].arrays["uniform_distance"]), **REFERENCE)
            if "collapse" in runs[0].meta:
                axes.axhline(runs[0].meta["collapse"], **dict(REFERENCE) | {"linestyle": (0, (2, 2))})
            axes.set(title=counted(label, len(runs)), xlabel="layer", ylabel="distance (patches)")
            axes.set_xticks(_layers(runs[0])[:: max(1, len(_layers(runs[0])) // 6)])
        top = max(axes.get_ylim()[1] for axes in grid.flat[: len(lines)])
        for axes in grid.flat[: len(lines)]:
            axes.set_ylim(0, 1.05 * top)
        for axes in grid.flat[len(lines) :]:
            axes.remove()
        figure.suptitle(
            f"{_sample(lines)}; lines: uniform attention, and below the dashed one a head counts as collapsed",
            fontsize=8,
            x=0.01,
            ha="left",
        )
    return figure


def cls_by_layer(networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None) -> Figure:
    """Draw how widely CLS reads the image (patches²), and what it gives to itself, each a mean over heads by layer.

    Arguments as for ``distance_by_layer``; networks without a CLS token are left out.
    """
    lines = [line for line in _lines(networks, control, initial) if "cls_self" in line[1][0].arrays]
    with styled():
        figure, (left, right) = canvas(1, 2, width=9.4)
        _by_layer(left, "cls_dispersion", lines)
        _reference(left, lines, "dispersion")
        left.set(ylabel="dispersion of the CLS row (patches²)", title=_sample(lines))
        left.set_ylim(bottom=0)
        _by_layer(right, "cls_self", lines)
        named_level(right, COLLAPSE, f"collapsed above {COLLAPSE}")
        right.set(ylabel="weight that CLS gives to itself", ylim=(0, 1.02))
        legend_beside(right)
    return figure


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's attention distance by layer over training, from the Results of a ``ProbeCallback`` in
    order.
    """
    with styled():
        figure, axes = canvas()
        colours = mpl.colormaps["viridis_r"](np.linspace(0.12, 1.0, len(results)))
        for result, colour in zip(results, colours, strict=True):
            style = INITIAL if result.meta["epoch"] == 0 else {"color": colour, "marker": "o", "markersize": 3}
            label = "untrained" if result.meta["epoch"] == 0 else f"epoch {result.meta['epoch']}"
            band(axes, _layers(result), result.arrays["distance"].mean(1)[None], label, style)
        _reference(axes, [("", [results[-1]], {})], "distance")
        _layer_axis(axes, results[-1])
        axes.set(ylabel="mean attention distance (patches)", title=f"{results[-1].meta['n']:,} validation images")
        axes.set_ylim(bottom=0)
        _thin_legend(axes)
    return figure


def _alone(key: str, label: str, lines: Lines) -> Figure:
    with styled():
        figure, axes = canvas()
        _by_layer(axes, key, lines)
        _reference(axes, lines, key)
        axes.set(ylabel=label, title=_sample(lines))
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure


def _by_layer(axes: Axes, key: str, lines: Lines) -> None:
    for label, runs, style in lines:
        y = np.stack([run.arrays[key].mean(1) for run in runs])
        band(axes, _layers(runs[0]), y, counted(label, len(runs)), style)
    _layer_axis(axes, max((runs[0] for _, runs, _ in lines), key=lambda run: len(_layers(run))))


def _sample(lines: Lines) -> str:
    return sample({label: runs for label, runs, _ in lines})


def _lines(networks: Mapping[str, Runs], control: Runs | None, initial: Runs | None) -> Lines:
    lines: Lines = []
    for place, (label, runs) in enumerate(networks.items()):
        lines.append((label, seeds(runs, Result), look(place)))
    if control is not None:
        lines.append(("control, no teacher", seeds(control, Result), CONTROL))
    if initial is not None:
        lines.append(("untrained", seeds(initial, Result), INITIAL))
    if not lines:
        raise ValueError("nothing to draw: no network, no control, no initial one")
    return lines


def _reference(axes: Axes, lines: Lines, key: str) -> None:
    """Draw the value of uniform attention, one for each size of grid."""
    values = sorted({round(float(runs[0].arrays[f"uniform_{key}"]), 6) for _, runs, _ in lines})
    for value in values:
        named_level(axes, value, f"uniform attention, {value:.2f}")
    axes.update_datalim([(0.0, values[-1] * 1.08)], updatex=False)
    axes.autoscale_view()


def _layers(result: Result) -> npt.NDArray[Any]:
    return np.arange(len(result.arrays["distance"]))


def _layer_axis(axes: Axes, result: Result) -> None:
    axes.set_xlabel("layer")
    axes.set_xticks(_layers(result))


def _thin_legend(axes: Axes, most: int = 12) -> None:
    handles, labels = axes.get_legend_handles_labels()
    kept = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).round().astype(int))
    axes.legend(
        [handles[i] for i in kept],
        [labels[i] for i in kept],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
    )
