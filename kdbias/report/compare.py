"""Methods compared with their control: the table, and the figures of the earlier study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.report import forensics, means
from kdbias.report.method import NOT_MEASURED, Method, over_images, over_seeds, pairing
from kdbias.report.networks import Looks, counted, looks, networks, sample
from kdbias.report.rows import arm, named_value, percent_row_axis, row_axes
from kdbias.report.style import INK, canvas, legend_beside, styled
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.stats import Estimate


def matrix(methods: Sequence[Method], *, control: str | None = None, against: Sequence[str] = ()) -> Table:
    """Give a row for each method: teacher, accuracy, differences, attention, curvature and published numbers.

    ``control`` and ``against`` are labels of methods with which the others are compared.
    """
    by_label = {method.label: method for method in methods}
    rows: list[list[Cell]] = []
    compared: list[tuple[Method, Method]] = []
    for method in methods:
        others = [by_label[label] for label in against]
        base = by_label.get(control or "")
        compared += [(method, other) for other in (base, *others) if other is not None and other is not method]
        rows.append(
            [
                method.label,
                len(method.seeds),
                method.teacher or NOT_MEASURED,
                method.teacher_score,
                method.score,
                NOT_MEASURED if base is None or base is method else over_images(method, base),
                NOT_MEASURED if base is None or base is method else over_seeds(method, base),
                *(NOT_MEASURED if other is method else over_images(method, other) for other in others),
                method.efficiency,
                means.mean(method.attention, "distance", 2),
                means.mean(method.attention, "distance_ratio", 2),
                means.trace(method.hessian),
                *(method.published.get(key, NOT_MEASURED) for key in ("accuracy", "efficiency", "distance")),
            ]
        )
    columns = [
        Column("method"),
        Column("seeds"),
        Column("teacher"),
        percent("its accuracy", 2),
        percent("accuracy", 2),
        percent("Δ control, over images", 2),
        percent("Δ control, over seeds", 2),
        *(percent(f"Δ {label}, over images", 2) for label in against),
        percent("transfer efficiency", 1),
        Column("attention distance", unit="patches"),
        Column("of uniform"),
        Column("Hessian trace ± s.e."),
        percent("published accuracy", 2),
        percent("published efficiency", 1),
        Column("published distance", digits=2, unit="patches"),
    ]
    return Table("Comparison", columns, rows, _caption(methods, pairing(compared)))


def _caption(methods: Sequence[Method], paired: str) -> str:
    parts = []
    for name in ("accuracy", "attention", "hessian"):
        found = {method.label: getattr(method, name) for method in methods if getattr(method, name)}
        parts += [f"{name} {sample(found)}"] if found else []
    text = (
        f"{'; '.join(parts)}. Intervals: 95 %; over images they describe these networks, over seeds the recipe. "
        "± of a distance: standard deviation over seeds; of a trace: standard error of the estimate. "
    )
    text += f"{paired} "
    if any(method.published for method in methods):
        text += (
            "Published: as an earlier study gave it for DeiT-Tiny on CIFAR-10, one seed each, with another recipe and "
            "split; not tested against ours."
        )
    return text.strip()


def figures(methods: Sequence[Method], *, control: str | None = None, initial: str | None = None) -> dict[str, Figure]:
    """Draw accuracy, attention, CKA and transfer efficiency of the methods, as far as they were measured."""
    labels = [method.label for method in methods]
    styles = looks(labels, control, initial)
    found: dict[str, Figure] = {}
    if any(method.accuracy for method in methods):
        found["compare-accuracy"] = _accuracies(methods, styles)
    attention = {method.label: method.attention for method in methods if method.attention}
    if attention:
        shown = networks(attention, control, initial, among=labels)
        found["compare-attention"] = forensics.layer_progression(shown)
    cka = {method.label: method.cka for method in methods if method.cka}
    if cka:
        found["compare-cka"] = forensics.similarity(cka)
    if any(isinstance(method.efficiency, Estimate) for method in methods):
        found["compare-efficiency"] = _efficiencies(methods, styles)
    return found


def _accuracies(methods: Sequence[Method], styles: Looks) -> Figure:
    shown = [method for method in methods if method.accuracy]
    with styled():
        figure, axes = canvas(width=6.4, height=1.1 + 0.34 * len(shown))
        for place, method in enumerate(shown):
            _number(axes, place, method.score, styles[method.label])
            if len(method.accuracy) > 1:
                values = 100 * method.right.mean(1)
                axes.plot(values, [place + 0.24] * len(values), "|", color=styles[method.label]["color"], markersize=6)
            if isinstance(method.teacher_score, Estimate):
                label = "its teacher" if not axes.get_legend_handles_labels()[1] else None
                value = 100 * method.teacher_score.value
                axes.plot(value, place, marker="d", linestyle="", color=INK, markerfacecolor="white", label=label)
        named_value(axes, 100 / int(shown[0].accuracy[0].meta["classes"]), "chance", "right")
        _names(axes, shown)
        axes.set_xlabel("accuracy (%), 95 % interval over images; ticks: seeds")
        percent_row_axis(axes)
        if axes.get_legend_handles_labels()[1]:
            legend_beside(axes)
    return figure


def _efficiencies(methods: Sequence[Method], styles: Looks) -> Figure:
    shown = [method for method in methods if isinstance(method.efficiency, Estimate)]
    with styled():
        figure, axes = canvas(width=6.4, height=1.1 + 0.34 * len(shown))
        for place, method in enumerate(shown):
            _number(axes, place, method.efficiency, styles[method.label])
        named_value(axes, 100, "as good as the teacher", "left")
        _names(axes, shown)
        axes.set_xlabel("transfer efficiency: accuracy / the teacher's (%), 95 % interval over images")
    return figure


def _number(axes: Axes, place: int, found: Estimate | str, style: Mapping[str, Any]) -> None:
    if isinstance(found, Estimate):
        arm(axes, found, place, {**style, "marker": "o"}, 100)


def _names(axes: Axes, shown: Sequence[Method]) -> None:
    row_axes(axes, [counted(method.label, len(method.accuracy)) for method in shown])
    axes.set_title(sample({method.label: method.accuracy for method in shown}))
