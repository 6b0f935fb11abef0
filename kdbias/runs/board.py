"""How far several pieces of work have come: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining


class Bars:
    """A bar for each piece of work, from when it is first heard of, and one for all with the time that is left.

    ``overall`` is the label of all the work together, ``steps`` the sum of all totals.
    """

    def __init__(self, overall: str, steps: int, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        note = TextColumn("{task.fields[note]}")
        self._progress = Progress(*columns, Remaining(), note, console=console, speed_estimate_period=120)
        self._all = self._progress.add_task(overall, total=steps, note="")
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}

    def show(self, label: str, done: int, total: int, note: str = "") -> None:
        """Show ``done`` of ``total`` steps of the work ``label``, and a note."""
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total, note=note)
        self._progress.update(self._tasks[label], completed=done, note=note)
        self._done[label] = done
        self._progress.update(self._all, completed=sum(self._done.values()))

    def __enter__(self) -> Bars:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they stand."""
        self._progress.stop()


class BoardLines:
    """A line whenever a piece of work has come further."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._done: dict[str, int] = {}

    def show(self, label: str, done: int, total: int, note: str = "") -> None:
        """Print seconds since the start, label, steps and note, unless nothing was done since the last line."""
        if done > self._done.get(label, 0):
            self._done[label] = done
            print(f"{time.monotonic() - self._began:5.0f} s  {label}: {done}/{total}  {note}".rstrip(), flush=True)

    def __enter__(self) -> BoardLines:
        """Begin to count the seconds."""
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to do."""


Board = Bars | BoardLines


def board(overall: str, steps: int) -> Board:
    """Build bars in a terminal, lines elsewhere; the arguments are those of ``Bars``."""
    return Bars(overall, steps) if sys.stdout.isatty() else BoardLines()
