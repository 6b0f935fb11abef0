"""The tables of ``reproduce.py``: what each row gave, its difference from its control, and a section for the docs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from kdbias.callbacks.probe import history
from kdbias.probes.base import Result
from kdbias.report.table import Column, Table, percent
from kdbias.runs import run_folder
from kdbias.runs.parallel import Run
from kdbias.runs.result import environment
from kdbias.stats import Difference, bootstrap_mean, difference, holm, image_noise, seed_mean


@dataclass(frozen=True)
class Seen:
    """The results of one row: right answers ``(seeds, n)``, attention distance of each seed, and what it cost."""

    right: np.ndarray
    distance: list[float]
    images_per_second: float
    seconds: float
    teacher: str


def seen(done: list[Run]) -> Seen:
    """Read the runs of a row."""
    results = [run_folder.result(run.folder, run.key) for run in done]
    found = [result for result in results if result is not None]
    right = np.stack([Result.load(run.folder / "probes", "test").arrays["right"] for run in done])
    last = [history(run.folder / "probes", "attention") for run in done]
    return Seen(
        right,
        [probes[-1].scalars["distance"] for probes in last if probes and probes[-1].meta["epoch"] > 0],
        float(np.mean([result["images_per_second"] or np.nan for result in found])),
        float(np.mean([result["seconds"] for result in found])),
        str(found[0]["teacher"] or "-"),
    )


def table(rows: dict[str, Seen], beside: Callable[[str], str], epochs: int, seeds: list[int]) -> Table:
    """Give a line for each row: teacher, accuracy, difference from the row ``beside`` it, attention distance, cost."""
    lines: list[list[Any]] = []
    for name, row in rows.items():
        mean = row.right.mean(0)
        control = rows.get(beside(name))
        alone = control is None or control is row
        against = "-" if alone else difference(mean, control.right.mean(0), over="images")
        recipe = "-" if alone or len(seeds) < 2 else by_seeds(row.right, control.right)
        spread = seed_mean(row.distance) if row.distance else "-"
        by_seed = ", ".join(f"{100 * one:.2f}" for one in row.right.mean(1))
        line = [name, row.teacher, bootstrap_mean(mean), by_seed, against, recipe, spread]
        lines.append([*line, row.images_per_second, row.seconds / 60])
    columns = [Column("row"), Column("teacher"), percent("test accuracy", 2), Column("by seed", unit="%")]
    columns += [percent("row − control, images", 2), percent("row − control, seeds", 2)]
    columns += [Column("attention distance", digits=2, unit="patches")]
    columns += [Column("images/s", digits=0), Column("a run", digits=1, unit="min")]
    note = (
        f"{len(seeds)} seeds, {epochs} epochs. Intervals: 95 %. Over images "
        "(mean of the seeds): of accuracy and of the first difference; they are of these networks and say nothing of "
        "other seeds. Over seeds: of the second difference (paired) and of attention distance, which is that of the "
        "last epoch, accuracy that of the best one on validation. Uniform attention on 8×8: 4.136."
    )
    return Table("CIFAR-10", columns, lines, note)


def isolated(rows: dict[str, Seen], controls: Sequence[str]) -> Table | None:
    """Give the difference of EXP-1 from each of ``controls``; None if there is nothing to compare."""
    controls = [name for name in controls if name in rows]
    if "exp1" not in rows or not controls:
        return None
    right = rows["exp1"].right
    found = [difference(right.mean(0), rows[name].right.mean(0), over="images") for name in controls]
    corrected = holm([one.p for one in found])
    lines: list[list[Any]] = []
    for name, images, p in zip(controls, found, map(float, corrected), strict=True):
        ahead = right.mean(1) - rows[name].right.mean(1)
        seeds = by_seeds(right, rows[name].right) if len(ahead) > 1 else "-"
        lines.append([name, ", ".join(f"{100 * one:+.2f}" for one in ahead), images, p, seeds])
    columns = [Column("control"), Column("EXP-1 − control, by seed", unit="%"), percent("images", 2)]
    columns += [Column("p (images), after Holm", digits=4), percent("seeds", 2)]
    note = "Over images, of the mean of the seeds: of these networks, not of other seeds. Over seeds: of the recipe."
    return Table("What the teacher of EXP-1 brings beyond its controls", columns, lines, note)


def by_seeds(one: np.ndarray, other: np.ndarray) -> Difference:
    return difference(one.mean(1), other.mean(1), noise=image_noise(one, other))


def section(tables: str, command: str) -> str:
    """Give the section for the results: the tables with their command, hardware and date."""
    machine = environment()
    where = f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}"
    head = f"## The matrix of {datetime.now(UTC):%Y-%m-%d %H:%M}\n\n{where}; git {str(machine['git'])[:12]}.\n"
    return f"\n{head}\n```\n{command}\n```\n\n{tables}"
