"""Methods beside their control: the matrix, and the figures of an earlier study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report import forensics, panels
from kdbias.report.bands import counted, sample
from kdbias.report.style import INK, QUIET, REFERENCE, canvas, styled
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.stats import Difference, Estimate, accuracy, bootstrap_mean, difference, transfer_index_pictures

NOT_MEASURED = "-"


@dataclass(frozen=True)
class Method:
    """One row: the Results of a method, each a list with one entry a seed; a list is empty where nothing was measured.

    ``seeds`` are those of the accuracy Results, None for a network without one. ``pictures`` is the same for networks
    that saw the same ones. ``teacher`` names the teacher, ``taught_by`` is its accuracy Result, one for each seed (None
    where it was not measured). ``published`` has what an earlier study gave for such a run.
    """

    label: str
    seeds: Sequence[int | None]
    pictures: str
    accuracy: Sequence[Result] = ()
    attention: Sequence[Result] = ()
    cka: Sequence[Result] = ()
    hessian: Sequence[Result] = ()
    teacher: str | None = None
    taught_by: Sequence[Result | None] = ()
    published: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def right(self) -> npt.NDArray[np.float64]:
        """Which answers are right, ``(seeds, n)``."""
        return np.stack([result.arrays["right"] for result in self.accuracy]).astype(np.float64)

    @property
    def score(self) -> Estimate | str:
        """Accuracy, the mean over seeds, with its interval over pictures."""
        if not self.accuracy:
            return NOT_MEASURED
        one = len(self.accuracy) == 1
        return accuracy(self.accuracy[0].arrays["right"]) if one else bootstrap_mean(self.right.mean(0))

    @property
    def teacher_score(self) -> Estimate | str:
        """The teacher's accuracy; where seeds had teachers of their own, the mean."""
        known = [result for result in self.taught_by if result is not None]
        if not known:
            return NOT_MEASURED
        if all(result is known[0] for result in known):
            return accuracy(known[0].arrays["right"])
        return bootstrap_mean(np.mean([result.arrays["right"] for result in known], axis=0))

    @property
    def efficiency(self) -> Estimate | str:
        """Accuracy over the teacher's on the same pictures, with its interval over them."""
        pairs = [(one, other) for one, other in zip(self.accuracy, self.taught_by) if other is not None]
        if not pairs or len(pairs) != len(self.accuracy) or not all(_same(one, other) for one, other in pairs):
            return NOT_MEASURED
        right = self.right.mean(0)
        taught = np.mean([other.arrays["right"] for _, other in pairs], axis=0)
        return transfer_index_pictures(right, np.zeros_like(right), taught)  # with a control of 0 it is the quotient


def over_pictures(one: Method, other: Method) -> Difference | str:
    """Give the difference of two methods' accuracies over the same pictures: means over the seeds that both have.

    Where no run has a partner, means over all runs of each.
    """
    if not _comparable(one, other):
        return NOT_MEASURED
    pairs = paired(one, other) or [(i, j) for i in range(len(one.accuracy)) for j in range(len(other.accuracy))]
    first, second = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    return difference(one.right[first].mean(0), other.right[second].mean(0))


def over_seeds(one: Method, other: Method) -> Difference | Estimate | str:
    """Give the same difference paired by seed, over the seeds that both have; refused where no run has a partner."""
    if not _comparable(one, other):
        return NOT_MEASURED
    pairs = paired(one, other)
    if not pairs:
        return Estimate.refuse(f"runs are paired by their seeds, and {_unpaired(one, other)}")
    return difference([one.right[i].mean() for i, _ in pairs], [other.right[j].mean() for _, j in pairs])


def paired(one: Method, other: Method) -> list[tuple[int, int]]:
    """Give the places of the seeds that two methods have in common; none where a method has one of them twice."""
    places = {seed: place for place, seed in enumerate(other.seeds) if seed is not None}
    if _twice(one) or _twice(other):
        return []
    return [(place, places[seed]) for place, seed in enumerate(one.seeds) if seed in places]


def pairing(one: Method, other: Method) -> str:
    """Say over which runs two methods are compared, where these are not all runs of both; else nothing."""
    pairs, runs = paired(one, other), max(len(one.accuracy), len(other.accuracy))
    if not _comparable(one, other) or len(pairs) == runs:
        return ""
    if pairs:
        common = ", ".join(str(one.seeds[place]) for place, _ in pairs)
        return f"{one.label} is compared with {other.label} over seed {common} alone, which both have."
    return f"{one.label} is compared with {other.label} by the means of all runs, unpaired: {_unpaired(one, other)}."


def _unpaired(one: Method, other: Method) -> str:
    for method in (one, other):
        if _twice(method):
            return f"two runs of {method.label} have the seed {_twice(method)[0]}"
    return f"{one.label} and {other.label} have no seed in common"


def _twice(method: Method) -> list[int]:
    known = [seed for seed in method.seeds if seed is not None]
    return sorted({seed for seed in known if known.count(seed) > 1})


def _comparable(one: Method, other: Method) -> bool:
    if not one.accuracy or not other.accuracy or one.pictures != other.pictures:
        return False
    return all(_same(one.accuracy[0], result) for result in (*one.accuracy, *other.accuracy))


def _same(one: Result, other: Result) -> bool:
    return all(np.array_equal(one.arrays[key], other.arrays[key]) for key in ("index", "target"))


def matrix(methods: Sequence[Method], *, control: str | None = None, against: Sequence[str] = ()) -> Table:
    """Give a row for each method: its teacher, accuracy, differences, bias and what was published.

    ``control`` and ``against`` are labels that the others are compared with.
    """
    by_label = {method.label: method for method in methods}
    rows: list[list[Cell]] = []
    notes: list[str] = []
    for method in methods:
        others = [by_label[label] for label in against]
        base = by_label.get(control or "")
        notes += [pairing(method, other) for other in (base, *others) if other is not None and other is not method]
        rows.append(
            [
                method.label,
                len(method.seeds),
                method.teacher or NOT_MEASURED,
                method.teacher_score,
                method.score,
                NOT_MEASURED if base is None or base is method else over_pictures(method, base),
                NOT_MEASURED if base is None or base is method else over_seeds(method, base),
                *(NOT_MEASURED if other is method else over_pictures(method, other) for other in others),
                method.efficiency,
                panels.mean(method.attention, "distance", 2),
                panels.mean(method.attention, "distance_ratio", 2),
                panels.trace(method.hessian),
                *(method.published.get(key, NOT_MEASURED) for key in ("accuracy", "efficiency", "distance")),
            ]
        )
    columns = [
        Column("method"),
        Column("seeds"),
        Column("teacher"),
        percent("its accuracy", 2),
        percent("accuracy", 2),
        percent("Δ control, over pictures", 2),
        percent("Δ control, over seeds", 2),
        *(percent(f"Δ {label}, over pictures", 2) for label in against),
        percent("transfer efficiency", 1),
        Column("attention distance", unit="patches"),
        Column("of uniform"),
        Column("Hessian trace ± s.e."),
        percent("published accuracy", 2),
        percent("published efficiency", 1),
        Column("published distance", digits=2, unit="patches"),
    ]
    return Table("Comparison", columns, rows, _caption(methods, notes))


def _caption(methods: Sequence[Method], notes: Sequence[str]) -> str:
    parts = []
    for name in ("accuracy", "attention", "hessian"):
        found = {method.label: getattr(method, name) for method in methods if getattr(method, name)}
        parts += [f"{name} {sample(found)}"] if found else []
    text = (
        f"{'; '.join(parts)}. Intervals: 95 %; over pictures they say what these networks are, over seeds what the "
        "recipe gives. ± of a distance: standard deviation over seeds; of a trace: standard error of the estimate. "
    )
    text += "".join(f"{note} " for note in dict.fromkeys(notes) if note)
    if any(method.published for method in methods):
        text += (
            "Published: as an earlier study gave it for DeiT-Tiny on CIFAR-10, one seed each, with another recipe and "
            "split; not tested against ours."
        )
    return text.strip()


def figures(methods: Sequence[Method], *, control: str | None = None, initial: str | None = None) -> dict[str, Figure]:
    """Draw accuracy, attention, CKA and transfer efficiency of the methods, what there is of them."""
    looks = panels.styles([method.label for method in methods], control, initial)
    found: dict[str, Figure] = {}
    if any(method.accuracy for method in methods):
        found["compare-accuracy"] = _accuracies(methods, looks)
    attention = {method.label: method.attention for method in methods if method.attention}
    if attention:
        found["compare-attention"] = forensics.layer_progression(attention, looks)
    cka = {method.label: method.cka for method in methods if method.cka}
    if cka:
        found["compare-cka"] = forensics.similarity(cka)
    if any(isinstance(method.efficiency, Estimate) for method in methods):
        found["compare-efficiency"] = _efficiencies(methods, looks)
    return found


def _accuracies(methods: Sequence[Method], looks: panels.Styles) -> Figure:
    shown = [method for method in methods if method.accuracy]
    with styled():
        figure, axes = _rows(len(shown))
        for place, method in enumerate(shown):
            _estimate(axes, place, method.score, looks[method.label])
            if len(method.accuracy) > 1:
                values = 100 * method.right.mean(1)
                axes.plot(values, [place + 0.24] * len(values), "|", color=looks[method.label]["color"], markersize=6)
            if isinstance(method.teacher_score, Estimate):
                label = "its teacher" if not axes.get_legend_handles_labels()[1] else None
                value = 100 * method.teacher_score.value
                axes.plot(value, place, marker="d", linestyle="", color=INK, markerfacecolor="white", label=label)
        classes = int(shown[0].accuracy[0].meta["classes"])
        axes.axvline(100 / classes, **REFERENCE)
        axes.annotate(
            "chance",
            (100 / classes, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -9),
            textcoords="offset points",
            color=QUIET,
            fontsize=7.5,
        )
        _labels(axes, shown)
        axes.set_xlabel("accuracy (%), 95 % interval over pictures; a tick a seed")
        axes.set_title(sample({method.label: method.accuracy for method in shown}))
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure


def _efficiencies(methods: Sequence[Method], looks: panels.Styles) -> Figure:
    shown = [method for method in methods if isinstance(method.efficiency, Estimate)]
    with styled():
        figure, axes = _rows(len(shown))
        for place, method in enumerate(shown):
            _estimate(axes, place, method.efficiency, looks[method.label])
        axes.axvline(100, **REFERENCE)
        axes.annotate(
            "as good as the teacher",
            (100, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -9),
            textcoords="offset points",
            color=QUIET,
            fontsize=7.5,
            ha="right",
        )
        _labels(axes, shown)
        axes.set_xlabel("transfer efficiency: accuracy / the teacher's (%), 95 % interval over pictures")
        axes.set_title(sample({method.label: method.accuracy for method in shown}))
    return figure


def _rows(count: int) -> tuple[Figure, Any]:
    return canvas(width=6.4, height=1.1 + 0.34 * count)


def _estimate(axes: Axes, place: int, found: Estimate | str, style: Mapping[str, Any]) -> None:
    if isinstance(found, str) or found.refused:
        return
    arms = 100 * np.array([[found.value - found.low], [found.high - found.value]])
    bar = {"color": style["color"], "markerfacecolor": style.get("markerfacecolor", style["color"])}
    axes.errorbar(100 * found.value, place, xerr=arms, fmt="o", capsize=2.5, elinewidth=1.2, **bar)


def _labels(axes: Axes, shown: Sequence[Method]) -> None:
    axes.set_yticks(range(len(shown)), [counted(method.label, len(method.accuracy)) for method in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
