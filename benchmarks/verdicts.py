"""Do the statistics of the tables hold? Coverage, false verdicts and power, by simulation.

    python benchmarks/verdicts.py

Draws seeds (normal) and images (Bernoulli) whose truth is known, calls the functions of ``kdbias.stats`` as the tables
do, and counts. Prints Markdown tables and one JSON line; takes about a minute and a half on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable

import numpy as np

from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Estimate, bootstrap_mean, difference, family, fieller, power, retention, seed_mean

SEEDS = (2, 3, 5, 8)
ROWS = 17


def coverage(draw: Callable[[], Estimate], truth: float, trials: int) -> float:
    """Give the share of intervals that hold the truth."""
    return float(np.mean([one.low <= truth <= one.high for one in (draw() for _ in range(trials))]))


def over_seeds(trials: int) -> Table:
    """Coverage of the intervals over seeds."""
    generator = np.random.default_rng(0)

    def mean(n: int) -> Estimate:
        return seed_mean(generator.normal(0.9, 0.01, n))

    def bootstrap(n: int) -> Estimate:
        return bootstrap_mean(generator.normal(0.9, 0.01, n), 1000)

    def paired(n: int) -> Estimate:
        common = generator.normal(0, 0.02, n)
        return difference(common + generator.normal(0.01, 0.01, n), common + generator.normal(0, 0.01, n)).estimate

    def index(n: int) -> Estimate:
        student, control, teacher = generator.normal([[0.5], [0.3], [0.8]], 0.03, (3, n))
        return fieller(student - control, teacher - control)

    cases = {
        "mean, Student": (mean, 0.9, trials),
        "paired difference, Student": (paired, 0.01, trials),
        "transfer index, Fieller": (index, 0.4, trials),
        "mean, bootstrap with widened arms (in use before)": (bootstrap, 0.9, trials // 4),
    }
    rows: list[list[Cell]] = [
        [name, *(coverage(lambda n=n, draw=draw: draw(n), truth, count) for n in SEEDS)]  # type: ignore[misc]
        for name, (draw, truth, count) in cases.items()
    ]
    return Table(f"Coverage of 95 % intervals over seeds, {trials:,} trials", columns("interval of"), rows)


def over_images(trials: int) -> Table:
    """Coverage of retention, by accuracy under stress."""
    generator = np.random.default_rng(1)
    rows: list[list[Cell]] = []
    for n in (200, 1000):
        for share in (0.003, 0.01, 0.1, 0.5):

            def draw(n: int = n, share: float = share) -> Estimate:
                clean = generator.random(n) < 0.9
                return retention(generator.random(n) < share, clean, 10)

            rows.append([n, share, coverage(draw, (share - 0.1) / 0.8, trials)])
    heads = [Column("images"), Column("accuracy under stress"), Column("coverage")]
    return Table(f"Coverage of retention (clean accuracy .9, ten classes), {trials:,} trials", heads, rows)


def errors(trials: int) -> Table:
    """How often a table without any effect shows one, and how often a true effect is shown."""
    generator = np.random.default_rng(2)
    wrong, alone, found = [], [], []
    for n in SEEDS:
        counts = np.zeros(3)
        for _ in range(trials):
            control = generator.normal(size=n)
            rows = [difference(generator.normal(size=n), control) for _ in range(ROWS)]
            true = difference(generator.normal(1.5 * math.sqrt(2), 1, n), control)
            shown = family([true, *rows[1:]])[0].shown
            counts += [any(row.shown for row in family(rows)), any(row.shown for row in rows), shown]
        for kept, count in zip((wrong, alone, found), counts, strict=True):
            kept.append(float(count / trials))
    rows = [
        ["any shown, nothing true, after Holm", *wrong],
        ["any shown, nothing true, without correction", *alone],
        ["one true effect of 1.5 standard deviations shown, after Holm", *found],
        ["the planner's power for it", *(power(1.5, 1.0, n, ROWS) for n in SEEDS)],
        ["the planner's power for it alone", *(power(1.5, 1.0, n) for n in SEEDS)],
    ]
    return Table(f"{ROWS} rows against one control, {trials:,} trials", columns("share of tables"), rows)


def columns(first: str) -> list[Column]:
    return [Column(first), *(Column(f"{n} seeds") for n in SEEDS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="of each interval; errors take half as many")
    args = parser.parse_args()
    tables = [over_seeds(args.trials), over_images(args.trials), errors(args.trials // 2)]
    for table in tables:
        print(table.markdown())
    print(json.dumps({"benchmark": "verdicts", **{table.title: table.rows for table in tables}}))


if __name__ == "__main__":
    main()
