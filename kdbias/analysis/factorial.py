"""``python analyze.py task=factorial``: runs that cross two factors, such as family and accuracy of the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbias.analysis.finished import finished
from kdbias.analysis.networks import listed, paths
from kdbias.analysis.recipe import joined, recipe
from kdbias.callbacks.probe import history
from kdbias.checks.check import ConfigError
from kdbias.checks.early_tasks import NO_RUNS
from kdbias.config.spec import Tree, flat
from kdbias.files import write_text
from kdbias.probes.base import Result
from kdbias.report.table import Cell, Column, Table, percent, show
from kdbias.runs import run_folder
from kdbias.stats import seed_mean
from kdbias.stats.factorial import effects

VARIED = {"seed", "name"}  # what the runs of a design may differ in besides its factors
TAUGHT = {"teacher", "control"}  # and where a factor lies in one of these, whose settings follow from each other
Levels = tuple[str, str]


@dataclass(frozen=True)
class DesignRun:
    """A finished run of a design.

    ``levels`` are its values of the two factors. ``matched`` is the accuracy of the teacher that
    ``control=accuracy_matched`` chose, None without that control. ``rest`` is everything else that decides the result.
    """

    folder: Path
    levels: Levels
    seed: int
    scores: Mapping[str, float]
    matched: float | None
    rest: Mapping[str, Any]


def factorial(tree: Tree) -> None:
    """Write the effect of each factor on each score, and their interaction, with intervals over seeds.

    The scores are read from the run folders; no network is evaluated.

    Raises:
        ConfigError: the runs are not a two-by-two design with the same seeds in every cell, differ in more than the
            factors, or lack a score.
    """
    factors, keys = listed(tree["factors"]), listed(tree["scores"])
    if len(factors) != 2:
        raise ConfigError(f"factors: give two keys of the runs' configs, got {len(factors)}")
    cells = crossed(belonging(tree, factors, keys), factors)
    tables = [cell_table(cells, factors, keys), effect_table(cells, factors, keys)]
    folder = Path(tree["out"])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "factorial.md", "\n".join(table.markdown() for table in tables))
    write_text(folder / "factorial.csv", tables[1].csv())
    for table in tables:
        show(table)
    print(folder / "factorial.md")


def run_folders(tree: Tree) -> list[Path]:
    """Give the run folders that ``runs`` names; a folder of runs stands for those that are finished.

    A line names each that is not.

    Raises:
        ConfigError: there is no run, none is finished, or one that is named itself is not.
    """
    found: list[Path] = []
    for path in paths(tree["runs"]):
        inside = run_folder.own_or_inside(path)
        if (path / run_folder.CONFIG).is_file():
            if not (path / run_folder.RESULT).is_file():
                raise ConfigError(f"runs: {path} is not finished; give its command again")
            found.append(path)
            continue
        done = [folder for folder in inside if (folder / run_folder.RESULT).is_file()]
        if not done:
            raise ConfigError(f"runs: none of the {len(inside)} runs in {path} is finished; give its command again")
        for folder in inside:
            if folder not in done:
                print(f"left out: {folder} is not finished")
        found += done
    if not found:
        raise ConfigError(f"runs: {NO_RUNS}")
    return found


def belonging(tree: Tree, factors: Sequence[str], keys: Sequence[str]) -> list[DesignRun]:
    """Read the runs of the design. Of a folder of runs, those that do not belong are left out, with a line each.

    These stopped early, lack a factor or a score, or decide by other settings than most of the runs.

    Raises:
        ConfigError: a run that is named itself does not belong, or no run does.
    """
    named = {path.absolute() for path in paths(tree["runs"])}
    found: list[DesignRun] = []
    refusals: list[ConfigError] = []
    for folder in run_folders(tree):
        try:
            found.append(design_run(folder, factors, keys))
        except ConfigError as error:
            if folder.absolute() in named:
                raise
            refusals.append(error)
    if not found:
        raise refusals[0]
    for refusal in refusals:
        print(f"left out: {refusal}")
    rests = joined([run.rest for run in found], [run.seed for run in found])
    found = [replace(run, rest=without(rest, factors)) for run, rest in zip(found, rests, strict=True)]
    most = max(found, key=lambda run: sum(other.rest == run.rest for other in found))
    alike = [run for run in found if run.rest == most.rest or run.folder.absolute() in named]
    for run in found:
        if run not in alike:
            print(f"left out: {run.folder} differs in {unlike(run, most)} from most of the runs")
    return alike


def unlike(run: DesignRun, other: DesignRun) -> str:
    """Name the first setting in which two runs differ besides the factors."""
    return next(key for key in sorted({*run.rest, *other.rest}) if run.rest.get(key) != other.rest.get(key))


def design_run(folder: Path, factors: Sequence[str], keys: Sequence[str]) -> DesignRun:
    """Read a run's levels and scores.

    Raises:
        ConfigError: training stopped early, the config lacks a factor, or the run folder lacks a score.
    """
    saved, facts, lack = finished(folder)
    if lack:
        raise ConfigError(f"runs: {folder} {lack}: leave it out")
    values = flat(saved)
    levels = [values.get(key) for key in factors]
    for key, level in zip(factors, levels, strict=True):
        if level is None or isinstance(level, dict | list):
            raise ConfigError(f"factors: {folder} has no value of {key}; leave the run out or name another factor")
    control = facts.get("control") or {}
    one, two = map(str, levels)
    scores = {key: score(folder, key) for key in keys}
    return DesignRun(folder, (one, two), int(saved["seed"]), scores, control.get("accuracy"), recipe(saved))


def without(recipe: Mapping[str, Any], factors: Sequence[str]) -> dict[str, Any]:
    """Give what runs of a design must have alike: a recipe without the factors and what follows from these."""
    roots = {factor.split(".")[0] for factor in factors}
    varied = VARIED | (TAUGHT if roots & TAUGHT else set())
    return {
        key: value
        for key, value in recipe.items()
        if key.split(".")[0] not in varied and not any(f"{key}.".startswith(f"{factor}.") for factor in factors)
    }


def score(folder: Path, key: str) -> float:
    """Give a scalar ``probe/scalar`` that the run itself measured; for a probe during training, that of the last epoch.

    Raises:
        ConfigError: the run has no such probe, the probe no such scalar, its file is damaged, or the scalar is NaN.
    """
    probe, _, scalar = key.partition("/")
    place = folder / "probes"
    try:
        results = [Result.load(place, probe)] if (place / f"{probe}.json").is_file() else history(place, probe)
    except (OSError, ValueError) as error:
        raise ConfigError(f"scores: {error}: measure {folder} again, or leave it out") from error
    if not results:
        raise ConfigError(
            f"scores: {folder} has no result of a probe {probe!r}: leave {key} out, or train with "
            f"callback=[...,probe_{probe}]"
        )
    if scalar not in results[-1].scalars:
        raise ConfigError(f"scores: probe {probe!r} has no {scalar!r}; it has {', '.join(results[-1].scalars)}")
    if not math.isfinite(value := results[-1].scalars[scalar]):
        raise ConfigError(f"scores: {key} of {folder} is {value}, no number: leave {key} or the run out")
    return value


def crossed(found: Sequence[DesignRun], factors: Sequence[str]) -> dict[Levels, list[DesignRun]]:
    """Give the four cells of the design, each with its runs in the order of their seeds.

    Raises:
        ConfigError: as ``factorial``.
    """
    one, two = (sorted({run.levels[place] for run in found}, key=_size) for place in (0, 1))
    for key, values in zip(factors, (one, two), strict=True):
        if len(values) != 2:
            raise ConfigError(f"factors: {key} takes {len(values)} values in these runs ({', '.join(values)}), not two")
    cells = {(a, b): sorted((run for run in found if run.levels == (a, b)), key=_seed) for a in one for b in two}
    seeds = sorted({run.seed for run in found})
    for cell, of in cells.items():
        if [run.seed for run in of] != seeds:
            has = ", ".join(str(run.seed) for run in of) or "none"
            raise ConfigError(
                f"runs: {' × '.join(cell)} has seeds {has}, and all cells together {', '.join(map(str, seeds))}: each "
                "cell needs each seed once"
            )
    for run in found:
        if run.rest != found[0].rest:
            key = unlike(run, found[0])
            raise ConfigError(f"runs: {run.folder} and {found[0].folder} differ in {key} too: compare like with like")
    return cells


def cell_table(cells: Mapping[Levels, Sequence[DesignRun]], factors: Sequence[str], keys: Sequence[str]) -> Table:
    """Give a row for each cell: the mean of each score over seeds."""
    rows: list[list[Cell]] = []
    for cell, of in cells.items():
        matched = [run.matched for run in of if run.matched is not None]
        teacher: Cell = "-" if len(matched) < len(of) else sum(matched) / len(matched)
        rows.append([*cell, *(seed_mean([run.scores[key] for run in of]) for key in keys), teacher])
    columns = [*(Column(factor) for factor in factors), *map(column, keys), percent("teacher's accuracy")]
    count = len(next(iter(cells.values())))
    note = (
        f"Means over {count} seeds, with 95 % intervals over seeds. If all seeds of a cell share one teacher, the "
        "intervals do not cover what another teacher of its kind would do."
    )
    return Table("Cells", columns, rows, note)


def effect_table(cells: Mapping[Levels, Sequence[DesignRun]], factors: Sequence[str], keys: Sequence[str]) -> Table:
    """Give a row for each effect and a column for each score."""
    found = [effects({cell: [run.scores[key] for run in of] for cell, of in cells.items()}) for key in keys]
    one, two = (list(dict.fromkeys(cell[place] for cell in cells)) for place in (0, 1))
    rows: list[list[Cell]] = [
        [f"{factors[0]}: {one[1]} − {one[0]}", *(each.first for each in found)],
        [f"{factors[1]}: {two[1]} − {two[0]}", *(each.second for each in found)],
        [f"{factors[0]} × {factors[1]}", *(each.interaction for each in found)],
    ]
    note = (
        "Main effects are means over the other factor. The last row says how much larger the effect of the second "
        "factor is at the second level of the first. 95 % intervals over seeds, paired; not corrected for the number "
        "of scores."
    )
    return Table("Effects", [Column("effect"), *map(column, keys)], rows, note)


def column(key: str) -> Column:
    """Give the column of a score; accuracies are in percent."""
    return percent(key, 2) if key.endswith("accuracy") else Column(key)


def _seed(run: DesignRun) -> int:
    return run.seed


def _size(level: str) -> tuple[float, str]:
    """Give a sort key: numbers by size come before words."""
    try:
        return float(level), ""
    except ValueError:
        return math.inf, level
