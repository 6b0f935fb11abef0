"""How far a job is that trains in a process of its own, and how long it and its sweep still take."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from kdbias.runs import progress
from kdbias.runs.bars import bars, in_terminal
from kdbias.runs.clock import Pace, Pulse, rounded

JOBS = "KDBIAS_SWEEP_JOBS"


def job_count(overrides: Sequence[str]) -> int | None:
    """Give how many jobs a sweep over all combinations has; None if the number is decided on the way.

    >>> job_count(["seed=0,1,2", "model=vit,small_cnn", "epochs=3"]), job_count(["lr=interval(0,1)"])
    (6, None)
    """
    count = 1
    for word in overrides:
        try:
            override = OverridesParser.create().parse_override(word)
            if override.is_sweep_override():
                count *= len(list(override.sweep_string_iterator()))
        except (HydraException, ValueError):
            return None
    return count


def seconds_of_done(record: str | None) -> list[float]:
    """Give the seconds of the jobs that the file ``record`` has as trained; those done before took none."""
    if record is None or not Path(record).is_file():
        return []
    jobs = [json.loads(line) for line in Path(record).read_text(encoding="utf-8").splitlines()]
    return [float(job["seconds"]) for job in jobs if job["state"] == "done"]


def sweep_left(own: float, elapsed: float, done: Sequence[float], after: int) -> float:
    """Give the seconds that a sweep still takes: ``own`` of this job, and ``after`` jobs as long as the mean of all.

    ``elapsed`` are the seconds of this job so far, ``done`` those of the jobs before.

    >>> sweep_left(10.0, 20.0, [30.0, 60.0], 2)
    90.0
    """
    every = [*done, own + elapsed]
    return own + after * sum(every) / len(every)


class Watch:
    """Shows the epochs of a run in ``folder``: a bar in a terminal, a line at most every half minute elsewhere.

    ``place`` is the number of the job in its sweep, from 0, of ``count`` jobs (None: unknown, or no sweep).
    """

    def __init__(
        self, label: str, folder: Path, *, place: int = 0, count: int | None = None, done: Sequence[float] = ()
    ) -> None:
        self.label, self.folder, self.place, self.count, self.done = label, folder, place, count, done
        self._pace: Pace | None = None
        self._pulse = Pulse()
        self._bars = bars(transient=True, disable=not in_terminal())
        self._bar = self._bars.add_task(label, total=None)

    def __enter__(self) -> Watch:
        """Begin to show."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bars.stop()

    def look(self) -> None:
        """Show what the run's folder says now."""
        found = progress.read(self.folder)
        if found is None:
            return
        if self._pace is None:
            self._pace = Pace(found.epochs, found.done)
        note = self.note(found, self._pace.left(found.done), self._pace.seconds)
        self._bars.update(self._bar, total=found.epochs, completed=found.done, note=note)
        if not in_terminal():
            self._pulse.beat(lambda: f"{self.label}: epoch {found.done}/{found.epochs}  {note}".rstrip())

    def note(self, found: progress.Progress, left: float | None, elapsed: float) -> str:
        """Say the accuracy and what is left of the job and of the sweep, as far as they are known."""
        texts = [] if found.accuracy is None else [f"val accuracy {100 * found.accuracy:.0f} %"]
        if left is not None:
            texts.append(f"{rounded(left)} left")
            if self.count is not None and self.count > 1:
                every = sweep_left(left, elapsed, self.done, self.count - self.place - 1)
                texts.append(f"of the sweep {rounded(every)}")
        return ", ".join(texts)


def of_job(folder: Path, place: int, record: str | None) -> Watch:
    """Give the display of the sweep's job number ``place``, from 0."""
    known = os.environ.get(JOBS, "")
    count = int(known) if known.isdigit() else None
    label = f"job {place + 1}/{count}" if count is not None else f"job {place + 1}"
    return Watch(label, folder, place=place, count=count, done=seconds_of_done(record))
