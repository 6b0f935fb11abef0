"""What every display of progress is made of: bars of one kind in a terminal, timed lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

PERIOD = 120.0  # seconds over which the time that is left is estimated


class Note(ProgressColumn):
    """What a bar's work says of itself, its field ``note``, where it has one."""

    def render(self, task: Task) -> Text:
        """Give the text."""
        return Text(str(task.fields.get("note", "")))


def in_terminal() -> bool:
    """Whether somebody looks: bars are for a terminal, lines for a file or a pipe."""
    return sys.stdout.isatty()


def columns() -> list[ProgressColumn]:
    """Give the columns of every bar: what, how far, done of all, time since the start and time left, a note."""
    what = TextColumn("{task.description:<18}", markup=False)
    return [what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Remaining(), Note()]


def bars(console: Console | None = None, *, transient: bool = False, disable: bool = False) -> Progress:
    """Build bars; ``transient`` ones are gone at the end, ``disable`` shows none."""
    return Progress(*columns(), console=console, speed_estimate_period=PERIOD, transient=transient, disable=disable)


class Lines:
    """Lines on stdout, each with the seconds since the first was thought of."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def timed(self, text: str) -> None:
        """Print seconds and text."""
        print(f"{time.monotonic() - self._began:5.0f} s  {text}".rstrip(), flush=True)
