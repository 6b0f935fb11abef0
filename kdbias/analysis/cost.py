"""``python analyze.py task=cost``: what each method costs, and how many times what plain KL costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kdbias.analysis.cost_run import CostRun, read_cost
from kdbias.analysis.factorial import run_folders
from kdbias.analysis.finished import finished
from kdbias.analysis.networks import listed, paths
from kdbias.analysis.recipe import joined
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.report.table import Cell, Column, Table, show
from kdbias.stats import Estimate

Groups = dict[str, list[CostRun]]
PLACES = {
    "gpu": "what tensors took on the GPU of one process",
    "process": "the resident memory of one process, data and Python included",
}


def cost(tree: Tree) -> None:
    """Write seconds an epoch, images/s and peak memory of each method, and the factors over plain KL.

    Nothing is computed anew. Runs of one name are seeds of one method. Of a folder of runs those that stopped early are
    left out, with a line each.

    Raises:
        ConfigError: a run is not finished or damaged, one that is named itself stopped early, runs of one name differ,
            or a run has no reference: one by plain KL with its networks, images, batches and hardware.
    """
    folders = run_folders(tree)
    names = listed(tree["names"]) if tree.get("names") else [None] * len(folders)
    if len(names) != len(folders):
        raise ConfigError(f"names: {len(names)} names for {len(folders)} runs; give one for each run")
    lacks = {folder: lack for folder in folders if (lack := _lack(folder, tree))}
    for folder, lack in lacks.items():
        print(f"left out: {folder} {lack}")
    if len(lacks) == len(folders):
        raise ConfigError("runs: none of them has a result of its own; the lines above say why")
    found = [read_cost(folder, name) for folder, name in zip(folders, names, strict=True) if folder not in lacks]
    named = [read_cost(path) for path in paths(tree.get("reference"))]
    found += [one for one in named if one.folder.resolve() not in {each.folder.resolve() for each in found}]
    if len({run.memory_of for run in found if run.memory is not None}) > 1:
        raise ConfigError("runs: some trained on a GPU and some on a CPU: compare like with like")
    groups = grouped(found)
    references = {label: reference_of(label, groups, named) for label in groups}
    table = cost_table(groups, references)
    folder = Path(tree["out"])
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "cost.md", table.markdown())
    write_text(folder / "cost.csv", table.csv())
    show(table)
    print(folder / "cost.md")


def _lack(folder: Path, tree: Tree) -> str:
    """Why a run of a folder has no result of its own; empty if it has, or if it is named itself."""
    named = folder.absolute() in {path.absolute() for path in paths(tree["runs"])}
    return "" if named else finished(folder)[2]


def grouped(found: Sequence[CostRun]) -> Groups:
    """Put the seeds of one method together.

    Raises:
        ConfigError: runs of one name differ in more than the seed.
    """
    groups: Groups = {}
    for run in found:
        groups.setdefault(run.label, []).append(run)
    for label, of in groups.items():
        first, *rests = joined([run.rest for run in of], [run.seed for run in of])
        for run, rest in zip(of[1:], rests, strict=True):
            other = next((key for key in sorted({*rest, *first}) if rest.get(key) != first.get(key)), None)
            unlike = other or run.unlike(of[0])
            if unlike:
                raise ConfigError(
                    f"names: the runs called {label} differ in {unlike}: name them apart, or leave some out"
                )
    return groups


def reference_of(label: str, groups: Groups, named: Sequence[CostRun]) -> str:
    """Give the label of the runs that those of ``label`` are held against: the ``named``, else those by plain KL.

    Raises:
        ConfigError: there is none with the same networks and setting, or several.
    """
    one = groups[label][0]
    if named:
        places = {run.folder.resolve() for run in named}
        known = [key for key, of in groups.items() if places & {run.folder.resolve() for run in of}]
        if len(known) > 1:
            raise ConfigError(f"reference: names runs of {' and '.join(known)}: name those of one method")
        start, remedy = f"reference: unlike {label}", "leave that run out, or name another reference"
    else:
        known = [key for key, of in groups.items() if of[0].kl]
        start = f"runs: none by plain KL has the networks and setting of {label}"
        remedy = "add one with loss=[ce,kl], leave that run out, or give reference=RUN"
    unlike = {key: one.unlike(groups[key][0]) for key in known}
    fit = [key for key in known if not unlike[key]]
    if not fit:
        reasons = "; ".join(f"{key} differs in {why}" for key, why in unlike.items()) or "no run is by plain KL"
        raise ConfigError(f"{start}: {reasons}: {remedy}")
    if label in fit:
        return label
    if len(fit) > 1:
        raise ConfigError(
            f"reference: {' and '.join(fit)} are both by plain KL and fit {label}: name one by reference=RUN"
        )
    return fit[0]


def cost_table(groups: Groups, references: dict[str, str]) -> Table:
    """Give one row a method: its cost, and the factors over its reference."""
    rows: list[list[Cell]] = []
    for label, of in groups.items():
        against = groups[references[label]]
        time, memory = (factor(of, against, value) for value in (_seconds, _memory))
        measured = (over(of, value, what) for value, what in ((_seconds, "seconds"), (_rate, "images/s")))
        rows.append([label, len(of), *measured, time, over(of, _memory, "memory"), memory, references[label]])
    columns = [
        Column("method"),
        Column("runs"),
        Column("an epoch", digits=2, unit="s"),
        Column("images/s", digits=0),
        Column("time over reference", digits=2),
        Column("peak memory", digits=2, unit="GiB"),
        Column("memory over reference", digits=2),
        Column("reference"),
    ]
    kinds = [run.memory_of for of in groups.values() for run in of if run.memory is not None]
    place = PLACES[kinds[0] if kinds else "process"]
    note = (
        "Mean [smallest, largest] of the runs; the last epoch's time, without validation, and without the training of "
        f"teachers that were missing. Peak memory is {place}. Factors are of the means. Times are only comparable if "
        "each run was alone on the machine."
    )
    return Table("Cost", columns, rows, note)


def over(of: Sequence[CostRun], value: Callable[[CostRun], float | None], what: str) -> Cell:
    """Give the mean of the runs with their range; of one run its value."""
    numbers = _all(of, value)
    if numbers is None:
        return Estimate.refuse(f"a run recorded no {what}")
    mean = sum(numbers) / len(numbers)
    return mean if len(numbers) == 1 else Estimate(mean, min(numbers), max(numbers))


def factor(of: Sequence[CostRun], against: Sequence[CostRun], value: Callable[[CostRun], float | None]) -> float | str:
    """Give the mean of the runs over that of their reference; ``-`` where a run recorded nothing."""
    mine, theirs = _all(of, value), _all(against, value)
    if mine is None or theirs is None:
        return "-"
    return (sum(mine) / len(mine)) / (sum(theirs) / len(theirs))


def _all(of: Sequence[CostRun], value: Callable[[CostRun], float | None]) -> list[float] | None:
    numbers = [value(run) for run in of]
    return None if any(number is None for number in numbers) else [float(number) for number in numbers if number]


def _seconds(run: CostRun) -> float | None:
    return run.seconds


def _rate(run: CostRun) -> float | None:
    return run.rate


def _memory(run: CostRun) -> float | None:
    return run.memory
