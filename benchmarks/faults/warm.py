"""The two commands in forked processes: a trial then costs no imports (about ten seconds of torch and Lightning).

What a command starts through ``kdbias.runs.process`` (a job of a sweep, a teacher, a run of the demo) is forked too.
All else is as in a process of its own: session, environment, open files, signals, exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"train.py": "train", "analyze.py": "analyze"}
PATIENCE = 120.0


class Forked:
    """A forked process with the part of ``subprocess.Popen`` that is used here."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        before: Callable[[], Any] | None = None,
        **_: Any,
    ) -> None:
        self.returncode: int | None = None
        self.args = list(command)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(self.args, stdout, env, pass_fds, cwd, before)

    def poll(self) -> int | None:
        """Give the exit status if the process has ended, negative for a signal."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and give the exit status."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill what is left of its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            self.poll()


def prepare() -> None:
    """Import what the commands import, once, and have ``kdbias.runs.process`` fork."""
    from kdbias.runs import process

    os.environ["KDBIAS_ALLOCATOR"] = "0"
    sys.modules["__main__"].__spec__ = None  # a job's command is that of train.py, not of this folder

    class Calls:
        Popen = Forked
        DEVNULL, STDOUT, TimeoutExpired = subprocess.DEVNULL, subprocess.STDOUT, subprocess.TimeoutExpired

    process.subprocess = Calls  # type: ignore[assignment]


def start(
    program: str, arguments: Sequence[str], folder: Path, log: Path, before: Callable[[], Any] | None = None, **env: str
) -> Forked:
    """Start a command in ``folder``; its output is appended to ``log``; ``before`` runs in its process first."""
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return Forked(
            [sys.executable, str(ROOT / program), *arguments],
            stdout=output.fileno(),
            env={**os.environ, **env},
            cwd=folder,
            before=before,
        )


def finish(process: Forked, log: Path, timeout: float = PATIENCE) -> tuple[int, str]:
    """Wait for a command; give its exit status and output. One that takes too long is killed (status -9)."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.end()
        process.wait()
    return process.returncode or 0, log.read_text(errors="replace")


def _become(
    args: list[str],
    stdout: int | None,
    env: Mapping[str, str] | None,
    pass_fds: Sequence[int],
    cwd: Path | None,
    before: Callable[[], Any] | None,
) -> NoReturn:
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        if cwd is not None:
            os.chdir(cwd)
        if stdout is not None:
            os.dup2(stdout, 1)
            os.dup2(1, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        low = 3
        for kept in sorted(pass_fds):
            os.closerange(low, kept)
            low = kept + 1
        os.closerange(low, 4096)
        status = _run(args, before)
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _run(args: list[str], before: Callable[[], Any] | None) -> int:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton

    from kdbias import cli

    GlobalHydra.instance().clear()
    Singleton._instances = {kind: one for kind, one in Singleton._instances.items() if "HydraConfig" not in str(kind)}
    program = Path(args[1])
    sys.argv = args[1:]
    if before is not None:
        before()
    getattr(cli, PROGRAMS[program.name])()
    return 0
