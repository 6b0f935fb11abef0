"""``python analyze.py task=power effect=.01 sd=.006``: how many seeds it takes to show a difference."""

from __future__ import annotations

from typing import Any

from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.report.table import Cell, Column, Table, percent, show
from kdbias.stats import power as power_of
from kdbias.stats import seeds_needed

WANTED = (0.5, 0.8, 0.9, 0.95)
COUNTS = (2, 3, 4, 5, 6, 8, 10, 15, 20)


def power(tree: Tree) -> None:
    """Print the power of the paired t-test by number of seeds, and the seeds that some powers take.

    Raises:
        ConfigError: ``effect``, ``sd`` or ``rows`` is missing or no number that makes sense.
    """
    effect, sd, rows = (_number(tree, key) for key in ("effect", "sd", "rows"))
    if rows != int(rows) or rows < 1:
        raise ConfigError(f"rows: the number of comparisons in the table, at least 1, got {rows:g}")
    try:
        tables = power_tables(effect, sd, int(rows))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    family = f", corrected for {rows:g} comparisons" if rows > 1 else ""
    print(
        f"The power of a paired t-test (two-sided, p < .05{family}) to show a difference of {effect:g}, if the\n"
        f"difference of a pair of runs has a standard deviation of {sd:g} over seeds. Each seed is one run of each.\n"
        "Take sd from runs that are done: the standard deviation over seeds of student - control."
    )
    for table in tables:
        show(table)


def power_tables(effect: float, sd: float, rows: int = 1) -> tuple[Table, Table]:
    """Give the table of power by seeds, and that of seeds by power, for ``rows`` comparisons in one column.

    ``effect`` and ``sd``, the standard deviation over seeds of the paired difference, have the same unit.

    Raises:
        ValueError: the numbers make no sense, or 10,000 seeds would not do.
    """
    powers: list[list[Cell]] = [[n, power_of(effect, sd, n, rows)] for n in COUNTS]
    counts: list[list[Cell]] = [[f"{100 * wanted:.0f} %", seeds_needed(effect, sd, wanted, rows)] for wanted in WANTED]
    by_seeds = Table("Power by seeds", [Column("seeds"), percent("power")], powers)
    return by_seeds, Table("Seeds by power", [Column("power"), Column("seeds")], counts)


def _number(tree: Tree, key: str) -> float:
    value: Any = tree[key]
    if value is None:
        raise ConfigError(f"{key}: is missing: task=power effect=.01 sd=.006 rows=1")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key}: must be a number, got {value!r}")
    return float(value)
