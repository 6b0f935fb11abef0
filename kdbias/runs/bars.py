"""The parts of every progress display: bars of one kind in a terminal, timed lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

PERIOD = 120.0  # seconds of progress that the estimate of the remaining time is based on


class Note(ProgressColumn):
    """The note of a bar: its field ``note``, if it has one."""

    def render(self, task: Task) -> Text:
        """Give the text."""
        return Text(str(task.fields.get("note", "")))


def in_terminal() -> bool:
    """Tell whether stdout is a terminal: a terminal gets bars, a file or a pipe gets lines."""
    return sys.stdout.isatty()


def columns(*times: ProgressColumn) -> list[ProgressColumn]:
    """Give the columns of every bar: label, bar, steps done of all, elapsed and remaining time, note.

    Other ``times`` take the place of the two.
    """
    what = TextColumn("{task.description:<18}", markup=False)
    return [what, BarColumn(), MofNCompleteColumn(), *(times or (TimeElapsedColumn(), Remaining())), Note()]


def bars(console: Console | None = None, *, transient: bool = False, disable: bool = False) -> Progress:
    """Build bars; ``transient`` bars disappear at the end, ``disable`` shows none."""
    return Progress(*columns(), console=console, speed_estimate_period=PERIOD, transient=transient, disable=disable)


class Lines:
    """Lines on stdout, each with the seconds since this object was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def timed(self, text: str) -> None:
        """Print the seconds and the text."""
        print(f"{time.monotonic() - self._began:5.0f} s  {text}".rstrip(), flush=True)
