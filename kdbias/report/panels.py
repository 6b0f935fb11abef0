"""Panels of several networks side by side, and what they share: the look of each network, its seeds as a band."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.bands import band, counted
from kdbias.report.named_level import named_level
from kdbias.report.style import CONTROL, INITIAL, REFERENCE, look
from kdbias.report.table import Column, Table

Groups = Mapping[str, Sequence[Result]]
"""Results of one probe by network, one a seed."""
Styles = Mapping[str, Mapping[str, Any]]


def styles(labels: Iterable[str], control: str | None, initial: str | None) -> dict[str, Mapping[str, Any]]:
    """Give each label its look in all panels."""
    found: dict[str, Mapping[str, Any]] = {}
    others = [label for label in dict.fromkeys(labels) if label not in (control, initial)]
    found |= {label: look(place) for place, label in enumerate(others)}
    if control is not None:
        found[control] = CONTROL
    if initial is not None:
        found[initial] = INITIAL
    return found


def heads(axes: Axes, attention: Groups, looks: Styles) -> None:
    """Draw the distances (patches) of all heads, sorted within each seed, whatever their layer."""
    counts = {run.arrays["distance"].size for runs in attention.values() for run in runs}
    for label, runs in attention.items():
        y = np.stack([np.sort(run.arrays["distance"].ravel()) for run in runs])
        x = np.arange(1, y.shape[1] + 1) if len(counts) == 1 else (np.arange(y.shape[1]) + 0.5) / y.shape[1] * 100
        band(axes, x, y, counted(label, len(runs)), {**looks[label], "marker": ""})
    uniform(axes, attention, "distance")
    head = "head, sorted by distance" if len(counts) == 1 else "heads, sorted by distance (%)"
    axes.set(xlabel=head, ylabel="attention distance (patches)")


def layers(axes: Axes, attention: Groups, looks: Styles, key: str = "distance") -> None:
    """Draw the mean attention ``distance`` (patches) or ``entropy`` (nats) of each layer."""
    depths = {len(run.arrays[key]) for runs in attention.values() for run in runs}
    for label, runs in attention.items():
        y = np.stack([run.arrays[key].mean(1) for run in runs])
        band(axes, layer_axis(axes, y.shape[1], depths), y, counted(label, len(runs)), looks[label])
    uniform(axes, attention, key)
    axes.set_ylabel(f"attention {key} ({'patches' if key == 'distance' else 'nats'})")


def last_layer(axes: Axes, cka: Groups, looks: Styles) -> None:
    """Draw the CKA of each layer with the last one."""
    depths = {len(run.arrays["cka"]) for runs in cka.values() for run in runs}
    for label, runs in cka.items():
        y = np.stack([run.arrays["cka"][:, -1] for run in runs])
        band(axes, layer_axis(axes, y.shape[1], depths), y, counted(label, len(runs)), looks[label])
    axes.axhline(0, **REFERENCE)
    axes.set_ylabel("CKA with the last layer")
    axes.set_ylim(top=1.02)


def curvature(axes: Axes, hessian: Groups, looks: Styles, key: str = "trace") -> None:
    """Draw a number of the Hessian, a row each network: its seeds, with standard error where there is one, and their
    mean.
    """
    values: list[float] = []
    for place, (label, runs) in enumerate(hessian.items()):
        colour, found = looks[label]["color"], [run.scalars[key] for run in runs]
        values += found
        offsets = np.linspace(-0.16, 0.16, len(runs)) if len(runs) > 1 else np.zeros(1)
        for offset, run in zip(offsets, runs, strict=True):
            error = run.scalars.get(f"{key}_se", 0.0)
            bar = {"capsize": 2, "elinewidth": 1.0, "markersize": 4, "color": colour}
            filled = {"markerfacecolor": looks[label].get("markerfacecolor", colour)}
            axes.errorbar(run.scalars[key], place + offset, xerr=error or None, fmt="o", **bar, **filled)
        if len(runs) > 1:
            axes.plot([np.mean(found)] * 2, [place - 0.32, place + 0.32], color=colour, linewidth=1.5)
    axes.set_yticks(range(len(hessian)), [counted(label, len(runs)) for label, runs in hessian.items()])
    axes.set_ylim(len(hessian) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_xscale("log")
    elif min(values) <= 0 <= max(values):
        axes.axvline(0, **REFERENCE)
    axes.set_xlabel("Hessian trace ± s.e.")


def uniform(axes: Axes, attention: Groups, key: str) -> None:
    """Draw the value of uniform attention, on each grid that there is, by name; the axis begins at 0."""
    for value in sorted({round(float(run.arrays[f"uniform_{key}"]), 6) for runs in attention.values() for run in runs}):
        named_level(axes, value, f"uniform attention, {value:.2f}")
        axes.update_datalim([(0.0, value * 1.1)], updatex=False)
    axes.autoscale_view()
    axes.set_ylim(bottom=0)


def layer_axis(axes: Axes, count: int, depths: set[int]) -> npt.NDArray[Any]:
    """Give the places of ``count`` layers: their numbers, or their depth where networks differ in it."""
    if len(depths) > 1:
        axes.set_xlabel("depth (0 first, 1 last layer)")
        return np.linspace(0, 1, count) if count > 1 else np.ones(1)
    axes.set_xlabel("layer")
    axes.set_xticks(range(0, count, 1 if count <= 13 else 2))
    return np.arange(count)


def legend_below(figure: Figure, axes: Sequence[Axes], looks: Styles) -> None:
    """Put one legend for several axes under them, each network once."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(4, len(found)))


def mean(runs: Sequence[Result], key: str, digits: int | None = None) -> str:
    """Write the mean of a scalar over seeds, ± its standard deviation; ``-`` where it was not measured."""
    values = [run.scalars[key] for run in runs if key in run.scalars]
    if not values:
        return "-"
    found = [float(np.mean(values)), *([float(np.std(values, ddof=1))] if len(values) > 1 else [])]
    shown = [f"{x:.{digits}f}" if digits is not None else _significant(x, 3 - i) for i, x in enumerate(found)]
    return " ± ".join(shown)


def trace(runs: Sequence[Result]) -> str:
    """Write the Hessian trace, the mean over seeds, and the standard error of that mean's estimate."""
    if not runs:
        return "-"
    values, errors = ([run.scalars[key] for run in runs] for key in ("trace", "trace_se"))
    error = float(np.sqrt(np.square(errors).sum())) / len(runs)
    return f"{_significant(float(np.mean(values)), 3)} ± {_significant(error, 2)}"


def _significant(value: float, digits: int) -> str:
    """Write ``value`` to so many significant digits, without an exponent."""
    return np.format_float_positional(value, precision=digits, fractional=False, trim="-")


def upright(table: Table) -> Table:
    """Give a wide table with its columns as rows, for a terminal."""
    written, notes = table.text()
    rows = [[column.head, *(cells[place] for cells in written)] for place, column in enumerate(table.columns)]
    columns = [Column(head) for head in rows[0]]
    return Table(table.title, columns, rows[1:], "\n".join([*notes, table.caption]))
