"""A table, written for the terminal or as Markdown, HTML or CSV."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import rich.box
import rich.table
from rich.console import Console
from rich.markup import escape

from kdbias.files import printable
from kdbias.report.estimate_text import format_difference, format_estimate
from kdbias.stats import Difference, Estimate, family

Cell = str | int | float | Estimate | Difference
LONG, MARGIN = 12, 2  # characters: of a head that may become a number, and between columns
ESTIMATED = ("", " low", " high", " reason")
JUDGED = (" p", " p after Holm", " verdict")
_UNITLESS = (ESTIMATED[-1], *JUDGED)


@dataclass(frozen=True)
class Column:
    """How a column is written: multiplied by ``scale``, with ``digits`` decimals; ``unit`` goes into the head."""

    name: str
    scale: float = 1.0
    digits: int = 3
    unit: str = ""

    @property
    def head(self) -> str:
        """The name with the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def percent(name: str, digits: int = 1) -> Column:
    """Give a column of shares (0 to 1) written in percent."""
    return Column(name, scale=100.0, digits=digits, unit="%")


@dataclass(frozen=True)
class Table:
    """Rows of cells under ``columns``.

    A refused estimate is written ``- (1)``, and its reason is note 1 under the table; equal reasons share a note. The
    differences of a column are one family: their p values are corrected for their number (Holm), and verdicts follow
    the corrected p. A line under the table says so. Differences that are ``corrected`` already, over a family that
    the caption names, stay as they are.

    Raises:
        ValueError: the number of cells in a row is not the number of columns.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    corrected: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r} has {len(self.columns)} columns, a row has {len(row)} cells")
        if not self.corrected:
            object.__setattr__(self, "rows", _judged(self.rows))

    def text(self) -> tuple[list[list[str]], list[str]]:
        """Give the cells as text, and the notes under them."""
        reasons: list[str] = []
        written = [
            [self._write(cell, col, reasons) for cell, col in zip(row, self.columns, strict=True)] for row in self.rows
        ]
        return written, [*(f"({i}) {reason}" for i, reason in enumerate(reasons, 1)), *self._families()]

    def _families(self) -> list[str]:
        """Say over which comparisons the verdicts are corrected."""
        if self.corrected:
            return []
        sizes = {sum(isinstance(row[place], Difference) for row in self.rows) for place in range(len(self.columns))}
        sizes -= {0, 1}
        if not sizes:
            return []
        many = " or ".join(map(str, sorted(sizes)))
        return [f"Verdicts: p < .05 after Holm over the {many} comparisons of a column. Intervals are not corrected."]

    def _write(self, cell: Cell, column: Column, reasons: list[str]) -> str:
        if isinstance(cell, str | int):
            return str(cell)
        if isinstance(cell, float):
            return f"{cell * column.scale:.{column.digits}f}"
        if isinstance(cell, Difference):
            shown, reason = format_difference(cell, column.scale, column.digits), cell.estimate.reason
        else:
            shown, reason = format_estimate(cell, column.scale, column.digits), cell.reason
        if not reason:
            return shown
        if reason not in reasons:
            reasons.append(reason)
        return f"{shown} ({reasons.index(reason) + 1})"

    def rich(self) -> rich.table.Table:
        """Give the table for a terminal."""
        written, notes = self.text()
        caption = "\n".join([*notes, *([self.caption] if self.caption else [])])
        table = rich.table.Table(
            title=escape(self.title), caption=escape(caption) or None, box=rich.box.SIMPLE, caption_justify="left"
        )
        for index, column in enumerate(self.columns):
            table.add_column(escape(printable(column.head)), justify="left" if index == 0 else "right")
        for cells in written:
            table.add_row(*(escape(printable(cell)) for cell in cells))
        return table

    def markdown(self) -> str:
        """Give the table as Markdown, with its title in bold above it and the notes below it."""
        written, notes = self.text()
        lines = [
            [column.head for column in self.columns],
            ["---", *["---:"] * (len(self.columns) - 1)],
            *written,
        ]
        body = ["| " + " | ".join(_in_markdown(cell).replace("|", r"\|") for cell in line) + " |" for line in lines]
        below = [_in_markdown(note) for note in (*notes, *([self.caption] if self.caption else []))]
        return (
            "\n".join([f"**{_in_markdown(self.title)}**", "", *body, *(part for note in below for part in ("", note))])
            + "\n"
        )

    def html(self) -> str:
        """Give the table as an HTML ``<figure>`` without style; all text is escaped.

        The table alone is in a ``scroll`` box: title and notes stay where they are if it is wider than the screen.
        """
        written, notes = self.text()
        head = "".join(f"<th>{html.escape(column.head)}</th>" for column in self.columns)
        body = "\n".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>" for cells in written)
        below = "".join(f"<p>{html.escape(note)}</p>" for note in [*notes, self.caption] if note)
        return (
            f'<figure>\n<p class="title">{html.escape(self.title)}</p>\n<div class="scroll">\n'
            f'<table aria-label="{html.escape(self.title)}">\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n<figcaption>{below}</figcaption>\n</figure>\n"
        )

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        return self.html()

    def csv(self) -> str:
        """Give the table as CSV: full precision, unscaled; a head has the unit of values that are in it.

        A column of estimates fills four (value, low, high, reason), one of differences three more (p, p after Holm,
        verdict).
        """
        ends = [_ends([row[place] for row in self.rows]) for place in range(len(self.columns))]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_in_csv(column, end) for column, each in zip(self.columns, ends, strict=True) for end in each])
        for row in self.rows:
            fields = (_fields(cell) + [""] * len(ESTIMATED + JUDGED) for cell in row)
            writer.writerow([text for cell, each in zip(fields, ends, strict=True) for text in cell[: len(each)]])
        return out.getvalue()


def _judged(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The rows with the differences of each column corrected for their number."""
    found = [list(row) for row in rows]
    for place in range(len(found[0]) if found else 0):
        column = [(row, cell) for row in found if isinstance(cell := row[place], Difference)]
        for (row, _), cell in zip(column, family([cell for _, cell in column]), strict=True):
            row[place] = cell
    return found


def _ends(cells: Sequence[Cell]) -> tuple[str, ...]:
    """What the heads of a column end with in CSV, one for each field."""
    if any(isinstance(cell, Difference) for cell in cells):
        return (*ESTIMATED, *JUDGED)
    return ESTIMATED if any(isinstance(cell, Estimate) for cell in cells) else ESTIMATED[:1]


def _in_csv(column: Column, end: str) -> str:
    """The head of a field in CSV, which has the unit where the field is in that unit."""
    return replace(
        column, name=column.name + end, unit="" if column.scale != 1 or end in _UNITLESS else column.unit
    ).head


def _fields(cell: Cell) -> list[str]:
    if isinstance(cell, Difference):
        ps = (cell.p, cell.p if cell.corrected is None else cell.corrected)
        return [*_fields(cell.estimate), *(repr(float(p)) for p in ps), cell.verdict]
    if isinstance(cell, Estimate):
        numbers = (cell.value, cell.low, cell.high)
        return [*("" if math.isnan(x) else repr(float(x)) for x in numbers), cell.reason]
    return [str(cell)]


def upright(table: Table) -> Table:
    """Turn the columns of a wide table into rows, for a terminal."""
    written, notes = table.text()
    rows = [[column.head, *(cells[place] for cells in written)] for place, column in enumerate(table.columns)]
    columns = [Column(head) for head in rows[0]]
    return Table(table.title, columns, rows[1:], "\n".join([*notes, table.caption]))


def fitted(table: Table, width: int) -> list[Table]:
    """Give tables that together say what ``table`` says, none wider than ``width`` characters where that is possible.

    First long heads become numbers with a legend in the caption; then columns are split over several tables, each with
    the first column.
    """
    if _width(table) <= width or len(table.columns) < 2:
        return [table]
    heads = [column.head for column in table.columns]
    cells = table.text()[0]
    widest = [max((len(row[place]) for row in cells), default=0) for place in range(len(heads))]
    long = [place for place in range(1, len(heads)) if len(heads[place]) > max(widest[place], LONG)]
    legend = [f"[{number}] {heads[place]}" for number, place in enumerate(long, 1)]
    columns = [
        replace(column, name=f"[{long.index(place) + 1}]", unit="") if place in long else column
        for place, column in enumerate(table.columns)
    ]
    parts = _split([max(len(c.head), w) for c, w in zip(columns, widest, strict=True)], width)
    caption = "\n".join([*legend, *([table.caption] if table.caption else [])])
    return [
        Table(
            table.title,
            [columns[0], *(columns[place] for place in part)],
            [[row[0], *(row[place] for place in part)] for row in table.rows],
            caption if number == len(parts) else "",
            table.corrected,
        )
        for number, part in enumerate(parts, 1)
    ]


def show(table: Table, console: Console | None = None) -> None:
    """Print a table in pieces that fit the terminal, or 80 columns where there is none."""
    console = console or Console()
    for part in fitted(table, console.width):
        console.print(part.rich())


def _width(table: Table) -> int:
    written = table.text()[0]
    lines = [[column.head for column in table.columns], *written]
    return sum(max(len(line[place]) for line in lines) + MARGIN for place in range(len(table.columns))) + MARGIN


def _split(widths: Sequence[int], width: int) -> list[list[int]]:
    """The places of the columns after the first, in groups that fit beside the first."""
    parts: list[list[int]] = [[]]
    taken = start = widths[0] + 2 * MARGIN
    for place in range(1, len(widths)):
        if parts[-1] and taken + widths[place] + MARGIN > width:
            parts.append([])
            taken = start
        parts[-1].append(place)
        taken += widths[place] + MARGIN
    return parts


def _in_markdown(text: str) -> str:
    """Escape a text for one line of Markdown, so that a name in it starts no tag and no new line."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
