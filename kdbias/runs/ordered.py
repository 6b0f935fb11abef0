"""Runs side by side of which some need another first, such as a student its teacher; planned by ``schedule``.

A run that fails does not stop the others. Each run is trained under the lock of its folder, so that several studies
share the runs and the teachers that they have in common: what one of them trains, the others wait for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from subprocess import Popen

from filelock import FileLock, Timeout

from kdbias.config.errors import ConfigError
from kdbias.files import lock, write_json
from kdbias.runs import failure, parallel, process, progress, run_folder, schedule
from kdbias.runs.board import Board
from kdbias.runs.cores import cores, threads
from kdbias.runs.parallel import Run, show


def train(waiting: Sequence[Run], needs: Mapping[Run, Run], *, lanes: int, board: Board) -> dict[Run, str]:
    """Train the runs that are not done, ``lanes`` at a time, and give the runs that failed with the reason of each.

    Args:
        waiting: All runs, each folder once; ``schedule.plan`` gives the order in which they begin and their threads.
        needs: For a run the run that must be done first; a run whose need failed does not begin.
        lanes: How many are trained at a time.
        board: What shows their epochs.

    No process is left behind, however this function ends. The next call resumes the runs that were interrupted.
    """
    with process.terminable():
        by_folder = {run.folder: run for run in waiting}
        needs = {run: by_folder.get(need.folder, need) for run, need in needs.items()}
        costs = estimates(waiting, {})
        found = schedule.plan(waiting, needs, costs, lanes=lanes, cores=cores())
        work = Work(found.order, found, needs, lanes, board)
        work.arrange()
        try:
            while work.queue or work.active:
                work.begin()
                time.sleep(parallel.POLL if work.queue or work.active else 0)
                work.reap()
        finally:
            work.close()
    return work.failed


@dataclass
class Work:
    """The runs that wait, those at work with what is released at their end, and why runs failed."""

    queue: list[Run]
    plan: schedule.Plan[Run]
    needs: Mapping[Run, Run]
    lanes: int
    board: Board
    active: dict[Run, tuple[Popen[bytes], ExitStack]] = field(default_factory=dict)
    failed: dict[Run, str] = field(default_factory=dict)
    _told: set[Run] = field(default_factory=set)

    def begin(self) -> None:
        """Start the runs that can begin, as long as there is a free lane; take those off that are done or cannot."""
        for run in list(self.queue):
            need = self.needs.get(run)
            if run.done:
                self.queue.remove(run)
                show(self.board, run)
            elif need in self.failed:
                self.queue.remove(run)
                self.failed[run] = f"{need.label if need else ''}, which it needs, failed"
            elif need is None or need.done:
                if schedule.may_begin(run, set(self.active), self.plan.alone, self.lanes):
                    if not self._answered_soon(run):
                        self._start(run)
                elif run in self.plan.alone and run not in self._told:  # it waits for the others to end
                    break

    def reap(self) -> None:
        """Show how far the runs are, and take off those that ended."""
        for run in self.active:
            show(self.board, run)
        for run in [run for run, (child, _) in self.active.items() if child.poll() is not None]:
            child, held = self.active.pop(run)
            try:
                if not run.done:
                    self.failed[run] = why(run, child.returncode)
            finally:
                held.close()
            if run.done:
                self.arrange()

    def arrange(self) -> None:
        """Put the runs that wait in the order that is the shortest, by the time that runs like them have taken."""
        costs = estimates(self.plan.order, {run: time for run in self.plan.order if (time := took(run)) is not None})
        waiting, needs = [run for run in self.plan.order if run in self.queue], self.needs
        self.queue = schedule.plan(waiting, needs, costs, lanes=self.lanes, cores=cores()).order

    def close(self) -> None:
        """End what is still at work, and release the locks."""
        with ExitStack() as all_:
            for _, held in self.active.values():
                all_.push(held)

    def _answered_soon(self, run: Run) -> bool:
        """Whether a run at work makes the teacher's answers that this one needs: a lane is not for waiting for them."""
        return any(
            run.answers and run.answers == other.answers and progress.read(other.folder) is None
            for other in self.active
        )

    def _start(self, run: Run) -> None:
        try:
            held_by_us = taken(run.folder)
        except ConfigError as error:  # its folder has links; the other runs go on
            self.queue.remove(run)
            self.failed[run] = str(error)
            return
        if held_by_us is None:
            if run not in self._told:
                self._told.add(run)
                print(f"{run.label}: another process trains it in {run.folder}: waiting for it", flush=True)
            return
        with ExitStack() as held:
            held.callback(held_by_us.release)
            self.queue.remove(run)
            if run.done:  # since the queue was looked through
                show(self.board, run)
                return
            failure.forget(run.folder)
            variables = threads(self.plan.threads[run], among_others=bool(self.active))
            child = held.enter_context(process.child(run.command(), log=run.log, variables=variables))
            self.active[run] = (child, held.pop_all())


def estimates(runs: Sequence[Run], took: Mapping[Run, float]) -> dict[Run, float]:
    """Estimate the time of each run, in seconds once one of them ``took`` a known time.

    It goes by epochs and images, and by runs of the same label but for the seed, else by all.
    """
    size = {run: float(run.epochs * run.images) for run in runs}
    pace: dict[str, list[float]] = {}
    for run, seconds in took.items():
        pace.setdefault(_like(run), []).append(seconds / size[run])
    every = [one for found in pace.values() for one in found] or [1.0]
    return {run: size[run] * fmean(pace.get(_like(run), every)) for run in runs}


def took(run: Run) -> float | None:
    """Give the seconds that a finished run has taken; None if that is not known."""
    seconds = (run_folder.result(run.folder, run.key) or {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


def _like(run: Run) -> str:
    return run.label.partition(", seed")[0]


def taken(folder: Path) -> FileLock | None:
    """Take the lock of a run folder, which is made if it is missing; None if another process holds the lock.

    Raises:
        ConfigError: as ``run_folder.require_own``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.require_own(folder)
    held = lock(folder / run_folder.LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout:
        return None
    return held


def why(run: Run, status: int) -> str:
    """Say why a run ended without its result; the reason stays in its folder, where ``task=status`` finds it."""
    found = failure.reason(run.folder)
    if found is None:
        last = process.last_lines(run.log, count=1).strip() or "no output"
        found = f"exit status {status}: {last}"
        write_json(run.folder / failure.FAILURE, {"kind": "Ended", "text": found})
    return found


def needed_first(runs: Sequence[Run], needs: Mapping[Run, Run]) -> list[Run]:
    """Give the runs in their order, each after the run that it needs, and each folder once.

    >>> needed_first([], {})
    []
    """
    return list({run.folder: run for run in _in_order(runs, needs)}.values())


def _in_order(runs: Sequence[Run], needs: Mapping[Run, Run]) -> Iterator[Run]:
    for run in runs:
        need = needs.get(run)
        if need is not None:
            yield need
        yield run
