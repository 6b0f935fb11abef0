"""Draw the tables of preference.py: what each loss carries of a teacher's preference, beside what it costs.

    python benchmarks/preference_figure.py --tables CNN=CSV ViT=CSV --out docs/figures/preference.png

Losses stand above the controls, each by its index in the first table, highest first.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path

from kdbias.report.forest import Measure, forest
from kdbias.report.style import save
from kdbias.stats import Estimate

CONTROLS = ("no_teacher_dist", "self", "random", "random_labels", "label_smoothing", "shuffled")
ENDS = ("no teacher", "the teacher")
MEASURES = {
    "index": Measure("index: 0 no teacher, 1 the teacher", 1.0, (0.0, 1.0), (-0.45, 1.45)),
    "index without guesses": Measure("index without guesses", 1.0, (0.0, 1.0), (-0.45, 1.45)),
    "accuracy": Measure("accuracy (%)", 100.0, (), (0.0, 1.02)),
}
Rows = dict[str, list[Estimate]]


def read(path: Path) -> Rows:
    """Give the estimates of each method from a table as CSV."""
    with path.open(newline="") as file:
        return {row["method"]: [estimate(row, column) for column in MEASURES] for row in csv.DictReader(file)}


def estimate(row: dict[str, str], column: str) -> Estimate:
    """Give a cell of the table with its interval; one that is no number is refused with its reason."""
    if not row[column] or row[column] == "-":
        return Estimate.refuse(row[f"{column} reason"] or "no number in the table")
    low, high = (float(row[f"{column} {end}"] or math.nan) for end in ("low", "high"))
    return Estimate(float(row[column]), low, high, row[f"{column} reason"] or ("no interval" if low != low else ""))


def ordered(tables: dict[str, Rows]) -> tuple[list[str], list[int]]:
    """Give all rows, no teacher first and the teacher last, and where losses, controls and the teacher begin."""

    def place(row: str) -> float:
        found = [table[row][0].value for table in tables.values() if row in table and not table[row][0].refused]
        return -found[0] if found else math.inf

    names = list(dict.fromkeys(row for table in tables.values() for row in table))
    teachers = [row for row in names if row.startswith(ENDS[1])]
    losses = sorted((row for row in names if row not in (*CONTROLS, ENDS[0], *teachers)), key=place)
    controls = sorted((row for row in names if row in CONTROLS), key=place)
    return [ENDS[0], *losses, *controls, *teachers], [1, 1 + len(losses), 1 + len(losses) + len(controls)]


def named(text: str) -> tuple[str, Path]:
    """Read ``cnn=FILE``."""
    name, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"expected NAME=FILE with a file that is there, got {text!r}")
    return name, Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=named, nargs="+", required=True, help="NAME=FILE, a kind of student each")
    parser.add_argument("--out", type=Path, required=True, help=".png or .svg")
    args = parser.parse_args()
    tables = {name: read(path) for name, path in args.tables}
    rows, sections = ordered(tables)
    title = "How much of a teacher's preference for shape each loss carries (95 % intervals over seeds, not corrected)"
    figure = forest(tables, list(MEASURES.values()), title=title, rows=rows, sections=sections)
    print(json.dumps({"benchmark": "preference_figure", "figure": str(save(figure, args.out))}))


if __name__ == "__main__":
    main()
