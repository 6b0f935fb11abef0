"""What networks rely on, beside each other: the tables of ``docs/results.md`` from Results of ``probe=bias``.

    python analyze.py task=probe teacher=resnet20 teacher.weights=FILE data=cifar10 'probe=[bias]' out=FOLDER/a
    python analyze.py task=probe 'runs=[RUN_DIR]' data=cifar10 'probe=[bias]' out=FOLDER/b
    python benchmarks/bias_table.py FOLDER/* --out FOLDER/table --names resnet20=ResNet-20 --reference resnet20

Each folder is the ``out`` of one call; a network may be in several, each with its own sets. ``--names`` gives the
networks to show, in order, as in the folders and as on the page. Writes ``cifar10-bias.csv`` (a line for each network,
set and strength, with Wilson's interval of the accuracy and the p of guessing), ``cifar10-mce.csv``, ``tables.md`` and
the figure ``corruptions.png``, and prints one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kdbias import stats
from kdbias.analysis.results import load
from kdbias.probes.base import Result
from kdbias.probes.bias_corruption import corruption_errors
from kdbias.report.bias import figures
from kdbias.report.style import save
from kdbias.stats.retained import CHANCE_P

Row = dict[str, Any]
ENDS = ("", " low", " high")


def measured(folders: Sequence[Path]) -> dict[str, list[Result]]:
    """Give the Results of each network by its label."""
    found: dict[str, list[Result]] = {}
    for folder in folders:
        for one in load(folder):
            found.setdefault(one.label.removeprefix("runs/"), []).append(one.results["bias"])
    return found


def rows(name: str, result: Result) -> list[Row]:
    """Give a row for the clean images and for each set at each strength."""
    classes, clean = int(result.meta["classes"]), result.arrays["right"].astype(bool)
    made = [_row(name, "clean", 0.0, "", clean, clean, classes)]
    seen: dict[str, int] = {}
    for one in result.meta["versions"]:
        place = seen.setdefault(one["set"], 0)
        seen[one["set"]] += 1
        right = result.arrays[f"right_{one['set']}"][place]
        kept = right >= 0
        made.append(_row(name, one["set"], one["strength"], one["kind"], right[kept] == 1, clean[kept], classes))
    return made


def _row(name: str, of: str, strength: float, kind: str, right: Any, clean: Any, classes: int) -> Row:
    found, kept = stats.accuracy(right), stats.retention(right, clean, classes)
    about = {"network": name, "set": of, "strength": strength, "corruption": int(bool(kind)), "n": len(right)}
    numbers = dict(zip((f"accuracy{end}" for end in ENDS), (found.value, found.low, found.high), strict=True))
    numbers |= dict(zip((f"retention{end}" for end in ENDS), (kept.value, kept.low, kept.high), strict=True))
    return {**about, **numbers, "p of guessing": stats.above_chance(right, classes)}


def errors(found: Mapping[str, Result], reference: str) -> list[Row]:
    """Give for each network the mean error under corruption, mCE and relative mCE beside the network ``reference``."""
    made = []
    for name, result in found.items():
        own, sets = _stacked(result)
        other, _ = _stacked(found[reference])
        numbers, reason = corruption_errors(own, other, 0, sets, list(sets))
        if reason:
            raise ValueError(f"{name}: {reason}")
        row: Row = {"network": name, "corruptions": len(sets), "n": own.shape[1]}
        row["clean error"] = float(1 - own[0].mean())
        for key in ("mean_error", "mce", "relative_mce"):
            one = numbers[key]
            row |= dict(zip((f"{key}{end}" for end in ENDS), (one.value, one.low, one.high), strict=True))
        made.append(row)
    return made


def _stacked(result: Result) -> tuple[Any, dict[str, list[int]]]:
    """The right answers to clean images and to those under each corruption of several severities; their places."""
    parts, sets = [result.arrays["right"][None].astype(bool)], dict[str, list[int]]()
    for name in dict.fromkeys(one["set"] for one in result.meta["versions"] if one["kind"]):
        right = result.arrays[f"right_{name}"]
        if len(right) > 1:
            first = sum(map(len, parts))
            sets[name] = list(range(first, first + len(right)))
            parts.append(right == 1)
    return np.concatenate(parts), sets


def _of_several_severities(result: Result) -> Result:
    """The Result without the corruptions of a single severity, which stand beside no mean over severities."""
    alone = {name for name in result.arrays if name.startswith("right_") and len(result.arrays[name]) == 1}
    left = {f"error_{name.removeprefix('right_')}" for name in alone}
    return replace(result, scalars={key: one for key, one in result.scalars.items() if key not in left})


def cell(row: Mapping[str, Any] | None) -> str:
    """Write an accuracy in percent; a star marks one that guesses may give (p of at least .01)."""
    if row is None:
        return "-"
    value, low, high = (100 * float(row[f"accuracy{end}"]) for end in ENDS)
    return f"{value:.1f}{'*' * (float(row['p of guessing']) >= CHANCE_P)} [{low:.1f}, {high:.1f}]"


def accuracy_rows(found: Sequence[Mapping[str, Any]], corruption: bool) -> list[str]:
    """Give the lines of a table: a set each, a network a column; n in the first line, the largest of its sets.

    A set that was measured twice has the number of the more images.
    """
    shown = [one for one in found if int(one["corruption"]) == corruption and float(one["strength"]) in (0, 1)]
    names = list(dict.fromkeys(one["network"] for one in found if int(one["corruption"]) == corruption))
    sets = list(dict.fromkeys(one["set"] for one in shown))
    by_place = {(one["network"], one["set"]): one for one in sorted(shown, key=lambda one: int(one["n"]))}
    most = {name: max(int(one["n"]) for one in shown if one["network"] == name) for name in names}
    lines = [f"| set | {' | '.join(f'{name}, n = {most[name]:,}' for name in names)} |"]
    lines += [f"| --- |{' ---: |' * len(names)}"]
    for one in sets:
        cells = [cell(by_place.get((name, one))) for name in names]
        lines.append(f"| {one.replace('_', ' ' if corruption else ' + ')} | {' | '.join(cells)} |")
    return lines


def error_rows(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the lines of the table of errors under corruption."""
    lines = [
        "| network | clean error (%) | mean error (%) | mCE | relative mCE |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        cells = [f"{100 * float(row['clean error']):.1f}"]
        for key, scale, digits in (("mean_error", 100, 1), ("mce", 1, 3), ("relative_mce", 1, 3)):
            value, low, high = (scale * float(row[f"{key}{end}"]) for end in ENDS)
            known = f"{value:.{digits}f}"
            cells.append(known if low == high else f"{known} [{low:.{digits}f}, {high:.{digits}f}]")
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    return lines


def write(path: Path, found: Sequence[Row]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)


def main() -> None:
    """Read, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="+", required=True, help="LABEL=NAME")
    parser.add_argument("--reference", default=None, help="label of the network that mCE is relative to")
    given = parser.parse_args()
    names = dict(one.split("=", 1) for one in given.names)
    found = measured(given.folders)
    made = [row for label, name in names.items() for result in found[label] for row in rows(name, result)]
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out / "cifar10-bias.csv", made)
    lines = [*accuracy_rows(made, False), "", *accuracy_rows(made, True)]
    if given.reference is not None:
        several = {
            name: result for label, name in names.items() for result in found[label] if len(_stacked(result)[1]) > 1
        }
        other = errors(several, names[given.reference])
        write(given.out / "cifar10-mce.csv", other)
        drawn = figures({name: _of_several_severities(result) for name, result in several.items()})
        save(drawn["bias_corruption"], given.out / "corruptions.png")
        lines += ["", *error_rows(other)]
    (given.out / "tables.md").write_text("\n".join(lines) + "\n")
    print(json.dumps({"benchmark": "bias_table", "networks": list(names.values()), "rows": len(made)}))


if __name__ == "__main__":
    main()
