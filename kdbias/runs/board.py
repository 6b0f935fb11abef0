"""The progress of several tasks: bars in a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import TaskID

from kdbias.runs.bars import Lines, bars, in_terminal
from kdbias.runs.clock import Pace, rounded


class Bars:
    """A bar for each task, from its first report on, and one bar for all tasks with the remaining time.

    ``overall`` is the label of the bar for all tasks, ``steps`` the sum of their totals.
    """

    def __init__(self, overall: str, steps: int, console: Console | None = None) -> None:
        self._progress = bars(console)
        self._all = self._progress.add_task(overall, total=steps)
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}

    def show(self, label: str, done: int, total: int, note: str = "") -> None:
        """Show ``done`` of ``total`` steps of the task ``label``, and a note."""
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
    """A line whenever a task has made progress, with the time that all tasks still take, of ``steps`` steps."""

    def __init__(self, steps: int = 0) -> None:
        self._lines, self._steps = Lines(), steps
        self._pace = Pace(steps)
        self._done: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def show(self, label: str, done: int, total: int, note: str = "") -> None:
        """Print seconds since the start, label, steps, note and what is left, unless nothing was done since then.

        What was done before this process began comes with the first report of each task, and does not count for the
        pace.
        """
        self._before.setdefault(label, done)
        if done > self._done.get(label, 0):
            self._done[label] = done
            self._pace.done = sum(self._before.values())
            left = self._pace.left(sum(self._done.values()))
            texts = [note, *([f"all: {rounded(left)} left"] if left else [])]
            self._lines.timed(f"{label}: {done}/{total}  {', '.join(text for text in texts if text)}")

    def __enter__(self) -> BoardLines:
        """Begin to count the seconds."""
        self._lines, self._pace = Lines(), Pace(self._steps)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


Board = Bars | BoardLines


def board(overall: str, steps: int) -> Board:
    """Build bars in a terminal, lines elsewhere; the arguments are those of ``Bars``."""
    return Bars(overall, steps) if in_terminal() else BoardLines(steps)
