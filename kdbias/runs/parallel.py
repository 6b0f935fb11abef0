"""Training runs in parallel: each is its own process. Runs that are done are left out."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from hydra import compose
from omegaconf import open_dict

from kdbias.config.conf import expand_paths
from kdbias.config.kept import shared_answers
from kdbias.config.spec import Tree, plain, spec_hash
from kdbias.runs import failure, process, progress, resuming, run_folder
from kdbias.runs.board import Board
from kdbias.runs.cores import cores, threads
from kdbias.runs.pretrained import settled
from kdbias.runs.progress import Progress
from kdbias.runs.sweep import LOG, PROGRAM, quoted

POLL = 0.3  # seconds
_PROGRAMS = ("train.py", "kdbias-train", "kdbias-train.exe")


class RunFailed(RuntimeError):
    """A training run ended without a result; the message names its log."""


@dataclass(frozen=True)
class Run:
    """A planned or finished training run: its command line, its folder, its spec hash and its epochs.

    ``images`` are those of an epoch, 1 if they are not known. Runs with the same ``answers`` may share the kept answers
    of a teacher, which the first of them makes; it is empty for a run that keeps none.
    """

    label: str
    overrides: tuple[str, ...]
    folder: Path
    key: str
    epochs: int
    images: int = 1
    answers: str = ""

    @property
    def log(self) -> Path:
        """The log file of its output."""
        return self.folder / LOG

    @property
    def done(self) -> bool:
        """Whether it has its result."""
        return run_folder.result(self.folder, self.key) is not None

    def command(self) -> list[str]:
        """Give the command that trains it, from its last checkpoint if it has one."""
        resume = [f"resume={quoted(str(self.folder))}"] if resuming.resumable(self.folder, self.key) else []
        return [*training_program(), *self.overrides, f"hydra.run.dir={quoted(str(self.folder))}", *resume]

    def progress(self) -> Progress:
        """Give its progress, also for a finished run that never reported any."""
        found = progress.read(self.folder)
        return found or Progress(self.epochs if self.done else 0, self.epochs, None)


def planned(label: str, overrides: Sequence[str], parent: Path) -> tuple[Run, Tree]:
    """Compose a training run with the folder ``<parent>/<label>-<hash>``; give the run and its config.

    ``overrides`` are overrides of ``train.py``. Call it inside ``hydra.main``.
    """
    cfg = compose("train", list(overrides), return_hydra_config=True)
    choices = {group: cfg.hydra.runtime.choices[group] for group in ("data", "trainer")}
    with open_dict(cfg):
        del cfg["hydra"]
    expand_paths(cfg)  # as in the process that trains it, so that the hash is the same
    tree, decided = settled(plain(cfg))
    overrides = [*overrides, *decided]
    key = spec_hash(tree)
    folder = parent / f"{label.replace(', ', '-').replace(' ', '')}-{key[:8]}"
    run = Run(label, tuple(overrides), folder, key, int(tree["epochs"]), answers=shared_answers(tree))
    return run, {**tree, "chosen": {**choices, "overrides": overrides}}


def train(waiting: Sequence[Run], *, lanes: int, board: Board) -> None:
    """Train the runs that are not done, ``lanes`` at a time in the order given, each with one thread.

    ``board`` shows their epochs. No process is left behind, however this function ends. The next call resumes the runs
    that were interrupted.

    Raises:
        RunFailed: a run failed; the others are ended.
        ConfigError: a run's folder has links to places outside.
    """
    queue = [run for run in waiting if not run.done]
    for run in waiting:
        if run.done:
            show(board, run)
    active: dict[Run, Popen[bytes]] = {}
    with ExitStack() as stack:
        while queue or active:
            while queue and len(active) < lanes:
                run = queue.pop(0)
                run_folder.require_own(run.folder)
                failure.forget(run.folder)
                child = process.child(run.command(), log=run.log, variables=threads(1))
                active[run] = stack.enter_context(child)
            time.sleep(POLL)
            for run in active:
                show(board, run)
            for run in [run for run, child in active.items() if child.poll() is not None]:
                require_done(run, active.pop(run).returncode)


def show(board: Board, run: Run) -> None:
    """Show the progress of a run."""
    found = run.progress()
    note = "" if found.accuracy is None else f"val accuracy {100 * found.accuracy:.0f} %"
    board.show(run.label, found.done, run.epochs, note)


def require_done(run: Run, status: int) -> None:
    """Check that a run ended with its result.

    Raises:
        RunFailed: the run has no result.
    """
    if status or not run.done:
        why = failure.reason(run.folder) or process.last_lines(run.log, count=1).strip() or "no output"
        raise RunFailed(f"{run.label} failed (exit status {status}): {why}\nits log is {run.log}")


def lanes(wanted: int | None) -> int:
    """Give how many runs to train at a time: ``wanted`` if given, else one for each core, at least two."""
    return wanted or max(2, cores())


def training_program() -> list[str]:
    """Give the command that starts ``train.py``, or ``kdbias-train`` if the package is installed.

    In a job of a launcher it is the program that has started the launcher.

    Raises:
        FileNotFoundError: neither is in the folder of this program or among the scripts of this Python.
    """
    if PROGRAM in os.environ:
        return [sys.executable, *json.loads(os.environ[PROGRAM])]
    places = (Path(sys.argv[0]).absolute().parent, Path(sysconfig.get_path("scripts")))
    for path in (place / name for place in places for name in _PROGRAMS):
        if path.is_file():
            return [str(path)] if path.suffix == ".exe" else [sys.executable, str(path)]
    raise FileNotFoundError(f"neither train.py nor kdbias-train is in {places[0]} or {places[1]}: install the package")
