"""The runs of a page by group (a row of its tables): what they cost, how accurate they are, what probes found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.estimate_text import format_estimate
from kdbias.report.networks import looks
from kdbias.report.rows import arm, percent_row_axis, row_axes
from kdbias.report.study_level import Level
from kdbias.report.style import canvas, styled
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.stats import Difference, Estimate, difference, image_noise, seed_mean

Right = npt.NDArray[Any]
"""Which images are answered right, ``(n,)``."""
TEST = "test"
MOST = 6  # columns of a table of scalars


@dataclass(frozen=True)
class Group:
    """The finished runs of a group, by seed.

    ``planned`` is how many runs it should have, ``facts`` what their ``result.json`` say, ``results`` their Results by
    probe (``test`` is that of the run's end) and seed. ``control`` names the group that it is compared with.
    """

    label: str
    planned: int
    facts: Mapping[int, Mapping[str, Any]]
    results: Mapping[str, Mapping[int, Result]] = field(default_factory=dict)
    control: str | None = None

    @property
    def accuracy(self) -> dict[int, float]:
        """The test accuracy by seed, of the runs that have one."""
        tests = {seed: (one.get("test") or {}).get("accuracy") for seed, one in self.facts.items()}
        return {seed: float(value) for seed, value in tests.items() if value is not None}

    def one(self, key: str) -> Any:
        """What the first run's result says; ``-`` if it says nothing."""
        found = next(iter(self.facts.values()), {}).get(key)
        return "-" if found is None else found

    def mean(self, *keys: str) -> float | str:
        """The mean of a number of ``result.json`` over the runs that recorded it; ``-`` if none did."""
        found = []
        for facts in self.facts.values():
            value: Any = facts
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            if type(value) in (int, float) and math.isfinite(value):
                found.append(float(value))
        return float(np.mean(found)) if found else "-"


def over_seeds(values: Sequence[float]) -> Estimate | str:
    """Give the mean over seeds with Student's interval; ``-`` without values, refused if one is not a number."""
    if not values:
        return "-"
    if not np.isfinite(values).all():
        return Estimate.refuse("for some seeds it is not a number")
    return seed_mean(values)


def scalar_over_seeds(results: Sequence[Result], key: str) -> Estimate | str:
    """Give the mean of a scalar over seeds, as ``over_seeds``; refused if some of the Results lack it."""
    values = [one.scalars[key] for one in results if key in one.scalars]
    return Estimate.refuse("not measured for every seed") if 0 < len(values) < len(results) else over_seeds(values)


def gain(one: Group, other: Group) -> Difference | str:
    """Give the difference of two groups' test accuracies over the seeds that both have; ``-`` if they have none."""
    seeds = sorted(one.accuracy.keys() & other.accuracy.keys())
    if not seeds:
        return "-"
    ours, theirs = ([group.accuracy[seed] for seed in seeds] for group in (one, other))
    tests = [group.results.get(TEST, {}) for group in (one, other)]
    rights = [[of[seed].arrays.get("right") if seed in of else None for seed in seeds] for of in tests]
    return difference(ours, theirs, noise=noise_of_images(*rights))


def noise_of_images(ours: Sequence[Right | None], theirs: Sequence[Right | None]) -> float:
    """Give the noise that the images alone give the difference of each pair; 0 unless all right answers are known."""
    known = [right for right in (*ours, *theirs) if right is not None]
    if len(known) < len(ours) + len(theirs) or len({right.shape for right in known}) != 1:
        return 0.0
    first, second = (np.array(side, dtype=np.float64) for side in (known[: len(ours)], known[len(ours) :]))
    return image_noise(first, second)


def runs_table(groups: Sequence[Group]) -> Table:
    """Give a row for each group: how many runs are done, and what each cost."""
    rows: list[list[Cell]] = [
        [
            group.label,
            f"{len(group.facts)} of {group.planned}",
            str(group.one("teacher")),
            _control(group),
            group.mean("parameters"),
            group.mean("epochs"),
            _minutes(group.mean("seconds")),
            group.mean("images_per_second"),
            group.mean("peak_memory", "gib"),
        ]
        for group in groups
    ]
    columns = [
        *(Column(head) for head in ("group", "runs", "teacher", "teacher changed by")),
        Column("parameters", digits=0),
        Column("epochs", digits=0),
        Column("a run", digits=1, unit="min"),
        Column("images/s", digits=0),
        Column("peak memory", digits=2, unit="GiB"),
    ]
    note = "Means over the runs that are done. Several runs share the machine, so times compare only roughly."
    return Table("Runs and their cost", columns, rows, note)


def accuracy_table(groups: Sequence[Group]) -> Table:
    """Give a row for each group: test accuracy over seeds, and its difference from the control."""
    by_label = {group.label: group for group in groups}
    rows: list[list[Cell]] = []
    for group in groups:
        other = by_label.get(group.control or "")
        by_seed = ", ".join(f"{100 * value:.1f}" for _, value in sorted(group.accuracy.items()))
        against = "-" if other is None or other is group else gain(group, other)
        name = other.label if other is not None and other is not group else "-"
        rows.append([group.label, over_seeds(list(group.accuracy.values())), by_seed or "-", name, against])
    columns = [Column("group"), percent("test accuracy"), Column("by seed", unit="%"), Column("control")]
    note = "Intervals: 95 %, Student's over seeds. Differences are paired by seed."
    return Table("Accuracy", [*columns, percent("group - control")], rows, note)


def levels_table(levels: Sequence[Level]) -> Table:
    """Give a row for each measure that hypotheses read and each group: its mean over seeds, and the values by seed."""
    rows: list[list[Cell]] = []
    for one in levels:
        scale, unit = (100, " %") if one.percent else (1, "")
        values = [scale * value for value in one.by_seed.values()]
        mean = over_seeds(values)
        digits = 1 if one.percent else _digits(values)
        written = format_estimate(mean, 1, digits) if isinstance(mean, Estimate) and not mean.refused else "-"
        by_seed = ", ".join(f"{scale * value:.{digits}f}" for _, value in sorted(one.by_seed.items()))
        rows.append([one.measure + unit, one.group, written, by_seed])
    columns = [Column("measure"), Column("group"), Column("mean"), Column("by seed")]
    note = "The numbers that the hypotheses read, of all seeds that are done. Intervals: 95 %, Student's over seeds."
    return Table("What was judged", columns, rows, f"{note} Layers are numbered from 0.")


def levels_csv(levels: Sequence[Level]) -> str:
    """Give the same numbers as CSV, a row for each seed, in full precision and the units of the measures."""
    rows: list[list[Cell]] = [
        [one.measure, one.group, seed, value] for one in levels for seed, value in sorted(one.by_seed.items())
    ]
    return Table("", list(map(Column, ("measure", "group", "seed", "value"))), rows).csv()


def _digits(values: Sequence[float], kept: int = 3) -> int:
    """Decimals that leave ``kept`` digits of the largest value."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return kept - 1 if largest == 0 else min(kept + 1, max(0, kept - 1 - math.floor(math.log10(largest))))


def scalar_table(
    probe: str,
    groups: Sequence[Group],
    beside: Mapping[str, Result],
    apart: tuple[str, Mapping[str, Difference]] | None = None,
) -> Table | None:
    """Give a row for each group with the scalars of a probe, means over seeds; None if no group was measured.

    ``beside`` are networks without seeds, by name: the untrained one, the teachers. ``apart`` is a scalar with its
    difference between a group and its control, by group: a column beside the scalar's.
    """
    found = {group.label: list(group.results.get(probe, {}).values()) for group in groups}
    found = {label: results for label, results in found.items() if results}
    if not found:
        return None
    keys = [key for key in next(iter(found.values()))[0].scalars if not key.endswith("_se")][:MOST]
    rows: list[list[Cell]] = [
        [label, *(scalar_over_seeds(results, key) for key in keys)] for label, results in found.items()
    ]
    rows += [[name, *(one.scalars.get(key, "-") for key in keys)] for name, one in beside.items()]
    shown = {
        key: [cell for row in rows if not isinstance(cell := row[place], str)] for place, key in enumerate(keys, 1)
    }
    columns = [Column("group"), *(_column(key, shown[key]) for key in keys)]
    if apart is not None and apart[1] and apart[0] in keys:
        place = keys.index(apart[0]) + 2
        columns.insert(place, Column(f"{apart[0]} - control", digits=2))
        for row in rows:
            row.insert(place, apart[1].get(str(row[0]), "-"))
    counts = sorted({int(one.meta.get("n", 0)) for results in found.values() for one in results})
    note = f"n = {' or '.join(f'{count:,}' for count in counts)} images. Intervals: 95 %, Student's over seeds."
    others = {label: _other(results[0]) for label, results in found.items()}
    others |= {name: _other(one) for name, one in beside.items()}
    if len({*filter(None, others.values())}) > 1:
        note += f" Measured with: {'; '.join(f'{name} {other}' for name, other in others.items() if other)}."
    return Table(probe, columns, rows, note)


def _other(result: Result) -> str:
    """The teacher that a Result was measured with; empty without one."""
    return str(result.meta.get("other") or result.meta.get("teacher") or "")


def accuracy_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the test accuracy of each group: the mean over seeds with its interval, and a tick for each seed."""
    shown = [group for group in groups if group.accuracy]
    if not shown:
        return None
    styles = looks([group.label for group in shown], "control", None)
    with styled():
        figure, axes = canvas(width=4.6, height=1.1 + 0.34 * len(shown))
        for place, group in enumerate(shown):
            values = list(group.accuracy.values())
            found, style = over_seeds(values), {**styles[group.label], "marker": "o"}
            if isinstance(found, Estimate):
                arm(axes, found, place, style, 100)
            axes.plot([100 * value for value in values], [place + 0.24] * len(values), "|", color=style["color"])
        row_axes(axes, [group.label for group in shown])
        axes.set_xlabel("test accuracy (%)")
        percent_row_axis(axes)
    return figure


def _column(key: str, cells: Sequence[Cell]) -> Column:
    """A column of one scalar: shares in percent, others with up to three decimals, as far as the largest value has four
    digits.
    """
    if "accuracy" in key or key.endswith(("share", "agreement")) or key == "decided":
        return percent(key)
    values = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
    return Column(key, digits=min(3, _digits([value for value in values if isinstance(value, int | float)], 4)))


def _control(group: Group) -> str:
    found = group.one("control")
    return str(found.get("kind", "-")) if isinstance(found, Mapping) else "-"


def _minutes(seconds: float | str) -> float | str:
    return seconds / 60 if isinstance(seconds, float) else seconds
