"""What probes found about one network: a mapping to Results, with a table and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdbias.files import write_text
from kdbias.probes.base import Result
from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Estimate, accuracy

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.figure import Figure


class Results(Mapping[str, Result]):
    """The Results of one network by the names of the probes.

    ``label`` is what tables and figures call the network. ``left_out`` has a line for each probe that could not
    measure it.
    """

    def __init__(self, label: str, found: Mapping[str, Result], left_out: tuple[str, ...] = ()) -> None:
        self.label, self.left_out, self._found = label, left_out, dict(found)

    def __getitem__(self, name: str) -> Result:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def table(self) -> Table:
        """All scalars: a row each, with probe, measure, value and number of images; shares of right answers have their
        95 % interval over images.
        """
        rows: list[list[Cell]] = []
        for name, result in self.items():
            cells: dict[str, Cell] = {**result.scalars, **intervals(result)}
            rows += [[name, key, value, int(result.meta["n"])] for key, value in cells.items()]
        columns = [Column("probe"), Column("measure"), Column("value"), Column("images")]
        return Table(self.label, columns, rows, "\n".join(self.left_out))

    def to_csv(self, path: str | PathLike[str]) -> Path:
        """Write the table in full precision, and give the path."""
        write_text(Path(path), self.table.csv())
        return Path(path)

    def figures(self, **beside: Results) -> dict[str, Figure]:
        """Draw what the probes' figures show, by name, as ``task=probe`` does.

        ``beside`` are Results of other networks by their labels; ``control`` marks the control.
        """
        from kdbias.analysis.probe import draw

        drawn: dict[str, Figure] = {}
        for name in self:
            others = {label: [found[name]] for label, found in beside.items() if name in found}
            drawn |= draw(name, {self.label: [self[name]], **others})
        return drawn

    def __repr__(self) -> str:
        cells, notes = self.table.text()
        widths = [max((len(row[i]) for row in cells), default=0) for i in range(3)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)).rstrip() for row in cells]
        return "\n".join([f"Results of {self.label}", *(f"  {line}" for line in (*lines, *notes, *self.left_out))])

    def _repr_html_(self) -> str:
        return self.table.html()


def intervals(result: Result) -> dict[str, Estimate]:
    """Give the scores of a Result that are shares of right answers, ``(n,)`` bool in its array ``right``."""
    right = result.arrays.get("right")
    names = [name for name in ("accuracy", "knn", "linear") if name in result.scalars]
    return {names[0]: accuracy(right)} if right is not None and right.ndim == 1 and names else {}


def estimates(result: Result) -> dict[str, Estimate]:
    """Give all scalars of a Result as estimates, those without an interval with the reason."""
    reasons = {"top5": "no interval: which images have the label among five answers is not kept"}
    values = {
        key: Estimate(value, math.nan, math.nan, reasons.get(key, "no interval: it is no share of right answers"))
        for key, value in result.scalars.items()
    }
    return {**values, **intervals(result)}
