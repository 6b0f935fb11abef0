"""Figures of attention: how far each layer and each head looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.style import CONTROL, INITIAL, QUIET, REFERENCE, canvas, legend_beside, look, seeds, styled

Runs = Result | Sequence[Result]
"""One run of a network, or several seeds of it."""


def distance_by_layer(
    networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None
) -> Figure:
    """Draw the mean attention distance (patches) of each layer, a line a network, with the line of uniform attention.

    ``control`` is the same student without teacher, ``initial`` the untrained one. Of several seeds the line is the
    mean and the band goes from the lowest to the highest.
    """
    with styled():
        figure, axes = canvas()
        _by_layer(axes, "distance", networks, control, initial)
        axes.set_ylabel("mean attention distance (patches)")
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure


def entropy_by_layer(
    networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None
) -> Figure:
    """Draw the mean attention entropy (nats) of each layer; at the line of uniform attention a layer looks nowhere.

    Arguments as for ``distance_by_layer``.
    """
    with styled():
        figure, axes = canvas()
        _by_layer(axes, "entropy", networks, control, initial)
        axes.set_ylabel("mean attention entropy (nats)")
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure


def sorted_heads(networks: Mapping[str, Runs], *, control: Runs | None = None, initial: Runs | None = None) -> Figure:
    """Draw the distances (patches) of all heads, sorted: how many look near and how many far, whatever their layer.

    Arguments as for ``distance_by_layer``; heads are sorted within each seed.
    """
    with styled():
        figure, axes = canvas()
        for label, runs, style in _lines(networks, control, initial):
            heads = np.stack([np.sort(run.arrays["distance"].ravel()) for run in runs])
            _line(axes, np.arange(1, heads.shape[1] + 1), heads, label, dict(style) | {"marker": ""})
        _reference(axes, _any(networks, control, initial), "distance")
        axes.set(xlabel="head, sorted by distance", ylabel="attention distance (patches)")
        axes.set_ylim(bottom=0)
        legend_beside(axes)
    return figure


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
            _line(axes, _layers(result), result.arrays["distance"].mean(1)[None], label, style)
        _reference(axes, results[-1], "distance")
        _layer_axis(axes, results[-1])
        axes.set(ylabel="mean attention distance (patches)", title=f"{results[-1].meta['n']:,} validation pictures")
        axes.set_ylim(bottom=0)
        _thin_legend(axes)
    return figure


def _by_layer(axes: Axes, key: str, networks: Mapping[str, Runs], control: Runs | None, initial: Runs | None) -> None:
    for label, runs, style in _lines(networks, control, initial):
        _line(axes, _layers(runs[0]), np.stack([run.arrays[key].mean(1) for run in runs]), label, style)
    some = _any(networks, control, initial)
    _reference(axes, some, key)
    _layer_axis(axes, some)


def _lines(
    networks: Mapping[str, Runs], control: Runs | None, initial: Runs | None
) -> list[tuple[str, list[Result], Mapping[str, Any]]]:
    lines: list[tuple[str, list[Result], Mapping[str, Any]]] = []
    for place, (label, runs) in enumerate(networks.items()):
        lines.append((label, seeds(runs, Result), look(place)))
    if control is not None:
        lines.append(("control, no teacher", seeds(control, Result), CONTROL))
    if initial is not None:
        lines.append(("untrained", seeds(initial, Result), INITIAL))
    if not lines:
        raise ValueError("nothing to draw: no network, no control, no initial one")
    return lines


def _line(axes: Axes, x: npt.NDArray[Any], y: npt.NDArray[Any], label: str, style: Mapping[str, Any]) -> None:
    """Draw the mean of ``y``, ``(seeds, len(x))``, and the band between its lowest and its highest."""
    if len(y) > 1:
        axes.fill_between(x, y.min(0), y.max(0), color=style["color"], alpha=0.15, linewidth=0)
        label = f"{label} ({len(y)} seeds)"
    axes.plot(x, y.mean(0), label=label, **style)


def _reference(axes: Axes, result: Result, key: str) -> None:
    value = float(result.arrays[f"uniform_{key}"])
    axes.axhline(value, **REFERENCE)
    place = (0.45, value)  # the first and the last layers often lie at the line
    axes.annotate(
        f"uniform attention, {value:.2f}",
        place,
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=QUIET,
        fontsize=7.5,
    )
    axes.update_datalim([(0.0, value * 1.08)], updatex=False)
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


def _any(networks: Mapping[str, Runs], control: Runs | None, initial: Runs | None) -> Result:
    return _lines(networks, control, initial)[0][1][0]
