"""Runs side by side of which some need another first, such as a student its teacher.

A run that fails does not stop the others. Each run is trained under the lock of its folder, so that several studies
share the runs and the teachers that they have in common: what one of them trains, the others wait for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from filelock import FileLock, Timeout

from kdbias.config.errors import ConfigError
from kdbias.files import lock, write_json
from kdbias.runs import failure, parallel, process, run_folder
from kdbias.runs.board import Board
from kdbias.runs.parallel import ONE_THREAD, Run, show


def train(waiting: Sequence[Run], needs: Mapping[Run, Run], *, lanes: int, board: Board) -> dict[Run, str]:
    """Train the runs that are not done, ``lanes`` at a time, and give the runs that failed with the reason of each.

    Args:
        waiting: All runs, in the order in which they begin; a run whose folder is in the list twice is trained once.
        needs: For a run the run that must be done first; a run whose need failed does not begin.
        lanes: How many are trained at a time.
        board: What shows their epochs.

    No process is left behind, however this function ends. The next call resumes the runs that were interrupted.
    """
    with process.terminable():
        work = Work(list(waiting), needs, lanes, board)
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
            elif len(self.active) < self.lanes and (need is None or need.done):
                self._start(run)

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

    def close(self) -> None:
        """End what is still at work, and release the locks."""
        with ExitStack() as all_:
            for _, held in self.active.values():
                all_.push(held)

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
            child = held.enter_context(process.child(run.command(), log=run.log, variables=ONE_THREAD))
            self.active[run] = (child, held.pop_all())


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
