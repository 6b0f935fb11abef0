"""A child process in its own session, whose whole process group ends with this process.

A run may start its own processes (one for each device). Killing the run alone leaves them behind, so signals go to
the group. If this process has no time to send a signal (SIGKILL), the child sees the end of a pipe that only this
process holds open, and ends its own group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

JOB = "KDBIAS_JOB"
POLL = 0.5  # seconds
_LIFELINE = "KDBIAS_LIFELINE"
# A fit over several processes, or a launcher, leaves these variables behind. With them, a child would act as one of
# those processes, or as a task of this process's Slurm job step.
_LAUNCHERS = ("SLURM_", "TORCHELASTIC_")
_DISTRIBUTED = (
    "LOCAL_RANK",
    "RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_NAME",
    "ROLE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    "KDBIAS_FIRST_PROCESS",
)
# Each signal, and the seconds that the leader has to end. On SIGINT, Lightning ends a fit cleanly.
_ESCALATION = ((signal.SIGINT, 8.0), (signal.SIGTERM, 4.0), (signal.SIGKILL, 2.0))
_FOLLOWERS = 0.5  # seconds that the rest of the group has after the leader is gone


def run(
    command: Sequence[str],
    *,
    log: Path | None,
    meanwhile: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end as a ``child``; give its exit status. ``meanwhile`` is called every ``POLL`` seconds."""
    with child(command, log=log, variables=variables) as process:
        while meanwhile is not None:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
            meanwhile()
        return process.wait()


@contextmanager
def child(
    command: Sequence[str], *, log: Path | None, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in its own process group; the group is gone after the block.

    stdout and stderr are appended to ``log``; with None they go to those of this process. ``variables`` are added to
    the environment. When the block ends for any reason (its end, an interrupt, SIGTERM, any exception), the rest of the
    group gets SIGINT, then SIGTERM, then SIGKILL.
    """
    read, write = os.pipe()
    kept = {k: value for k, value in os.environ.items() if not k.startswith(_LAUNCHERS) and k not in _DISTRIBUTED}
    environment = {**kept, **(variables or {}), JOB: "1", _LIFELINE: str(read), "PYTHONUNBUFFERED": "1"}
    try:
        with terminable(), _output(log) as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(read,),
                env=environment,
            )
            try:
                yield process
            finally:
                _end_group(process)
    finally:
        os.close(read)
        os.close(write)


def end_with_parent() -> None:
    """In a child of ``run``, end this process group when the parent is gone; elsewhere, do nothing.

    Call it once, early. A process that restarts itself with ``os.exec*`` calls it after the restart.
    """
    lifeline = os.environ.pop(_LIFELINE, None)  # popped: this process's own children do not hold the pipe
    if lifeline is not None:
        threading.Thread(target=_watch, args=(int(lifeline),), name="lifeline", daemon=True).start()


def last_lines(log: Path, begin: int = 0, count: int = 20) -> str:
    """Give the last ``count`` lines of a text file, without its first ``begin`` bytes."""
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        return "".join(deque(file, maxlen=count)).rstrip()


def _watch(lifeline: int) -> None:
    os.read(lifeline, 1)  # nothing is ever written: this returns when the parent's end is closed
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(5)
    os.killpg(os.getpgrp(), signal.SIGKILL)


@contextmanager
def _output(log: Path | None) -> Iterator[int | None]:
    sys.stdout.flush()
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        yield file.fileno()


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception inside the block, so that ``finally`` clauses run.

    A block inside another changes nothing. So children that end in any order need one block around all of them.
    """
    main = threading.current_thread() is threading.main_thread()  # only the main thread can set a handler
    if not main or signal.getsignal(signal.SIGTERM) is _leave:
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def heed_termination() -> None:
    """Turn SIGTERM into an exception from now on, where nothing else does; a launcher then ends its workers."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the rest of the group that ``process`` leads; after its own end, the group is usually empty."""
    for number, patience in _ESCALATION:
        if not _signal_group(process, number):
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        end = time.monotonic() + _FOLLOWERS
        while _signal_group(process, 0) and time.monotonic() < end:
            time.sleep(0.02)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    process.poll()  # a leader that ended, but was not waited for, still counts as a member
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the group is gone; macOS raises the second error
        return False
    return True
