"""Commands in forked processes: a new interpreter takes six seconds of processor time to import torch and Lightning.

``multiprocessing``'s fork server, one for each process of pytest, imports once what the programs import, and never
computes: no thread is lost in a fork. A command is forked from it, and has as any other arguments, folder, environment,
output, signals, process group and status of its own. What the command itself starts through ``kdbias.runs.process`` or
Lightning (a job of a sweep, a teacher, a second rank) is forked from the command.

Not for tests of how a program begins: what is imported when, or what an import reads from the environment. Of that, the
child sets the number of threads alone.
"""

import fcntl
import gc
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from io import TextIOWrapper
from multiprocessing import forkserver, get_context, reduction, set_forkserver_preload
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest.mock import patch

import pytest

EARLY = [
    *("torch", "torch.utils.tensorboard", "torchvision.transforms.v2", "timm", "lightning.pytorch", "torchmetrics"),
    *("kdbias.cli", "kdbias.train", "kdbias.checks.check", "kdbias.analysis.study_train", "kdbias.modules.distill"),
]
ALL = 4096  # above every file descriptor
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = dict(os.environ)


class Forked:
    """A command in a forked process, with the part of ``subprocess.Popen`` that tests and kdbias use.

    It leads a session of its own. ``PIPE`` is a file that ``communicate`` reads.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        start: str = "forkserver",
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        **_: Any,
    ) -> None:
        self.args, self.returncode = list(command), None
        self._files = [_file() if given == subprocess.PIPE else None for given in (stdout, stderr)]
        out = _number(stdout, self._files[0], 1)
        places = {1: out, 2: out if stderr == subprocess.STDOUT else _number(stderr, self._files[1], 2)}
        places |= {number: number for number in pass_fds}
        ready, begun = os.pipe()
        handed = {place: Descriptor(number) for place, number in places.items()}
        about = (self.args[1:], str(cwd or Path.cwd()), dict(os.environ if env is None else env))
        self._process = START[start](_become, *about, handed, Descriptor(begun))
        self.pid = self._process.pid
        os.close(begun)
        os.read(ready, 1)  # its end: the process leads its group, and can be sent signals
        os.close(ready)

    def poll(self) -> int | None:
        """Give the exit status if the process has ended, negative for a signal."""
        self.returncode = self._process.status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and give the exit status."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.01)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Wait for the end and give the output."""
        self.wait(timeout)
        for file in filter(None, self._files):
            file.seek(0)
        out, errors = (file and TextIOWrapper(file, errors="replace").read() for file in self._files)
        return out, errors

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)


class Served:
    """A call in a process that is forked from the server."""

    def __init__(self, call: Callable[..., None], *arguments: Any) -> None:
        preload()
        self._process = get_context("forkserver").Process(target=call, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    def status(self) -> int | None:
        return self._process.exitcode


class Child:
    """A call in a process that is forked from this one; unlike ``multiprocessing``'s, this one can end before it."""

    def __init__(self, call: Callable[..., None], *arguments: Any) -> None:
        self._status: int | None = None
        self._lock = threading.Lock()
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            call(*arguments)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if status and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def status(self) -> int | None:
        with self._lock:  # Lightning asks in a thread as well
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status


START = {"forkserver": Served, "fork": Child}


class Descriptor:
    """A file descriptor that another process gets as well, under a number of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.number)

    def __setstate__(self, state: Any) -> None:
        self.number = state.detach()


def preload() -> None:
    """Have the fork server of this process run, in the folder and environment of before any test changed them."""
    set_forkserver_preload(EARLY)
    with chdir(ROOT), patch.dict(os.environ, ENVIRONMENT, clear=True):
        forkserver.ensure_running()


def run(command: Sequence[str], *, timeout: float | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run ``[sys.executable, program or "-c", ...]`` to its end; give its status and output, as ``subprocess.run``."""
    process = Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
    try:
        output, errors = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def fork_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``kdbias.runs.process`` in this process start programs from the fork server."""
    from kdbias.runs import process

    monkeypatch.setattr(process, "subprocess", _calls("forkserver"))


def _calls(start: str) -> Any:
    """A stand-in for the module ``subprocess`` in a module that starts programs."""

    def begun(command: Sequence[str], **settings: Any) -> Any:
        program = command[0] == sys.executable and (command[1] == "-c" or command[1].endswith(".py"))
        return Forked(command, start=start, **settings) if program else subprocess.Popen(command, **settings)

    return SimpleNamespace(**{**vars(subprocess), "Popen": begun})


def _number(given: int | None, file: IO[bytes] | None, otherwise: int) -> int:
    if given == subprocess.DEVNULL:
        raise NotImplementedError("no test throws output away")
    return file.fileno() if file else otherwise if given is None else given


def _become(
    words: list[str], folder: str, environment: dict[str, str], handed: dict[int, Descriptor], begun: Descriptor
) -> None:
    """Be the process of a command: ``words`` are what the interpreter is given."""
    gc.freeze()  # what was imported is here to stay
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    # Above all places first: a descriptor may have come under the number that is another's place.
    kept = {place: fcntl.fcntl(one.number, fcntl.F_DUPFD, ALL // 2) for place, one in handed.items()}
    sign = fcntl.fcntl(begun.number, fcntl.F_DUPFD, ALL // 2)
    kept[0] = os.open(os.devnull, os.O_RDONLY)
    for place, number in kept.items():
        os.dup2(number, place)
    low = 3
    for place in sorted({*kept, sign, ALL} - {0, 1, 2}):
        os.closerange(low, place)
        low = place + 1
    whole = -1 if "PYTHONUNBUFFERED" not in environment else 1
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, buffering=whole), _text(2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.close(sign)
    _run(words)


def _text(number: int, mode: str = "w", buffering: int = 1) -> TextIOWrapper:
    return open(number, mode, closefd=False, errors="backslashreplace", buffering=buffering)


def _file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _run(words: list[str]) -> None:
    import torch
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from lightning.fabric.strategies.launchers import subprocess_script as fabric
    from lightning.pytorch.strategies.launchers import subprocess_script as ranks

    from kdbias.runs import process

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    os.environ["KDBIAS_ALLOCATOR"] = "0"  # or the program would begin again, in a new interpreter
    GlobalHydra.instance().clear()  # those of a sweep, of which this is a job
    HydraConfig.instance().cfg = None
    process.subprocess = ranks.subprocess = fabric.subprocess = _calls("fork")
    if words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.path.insert(0, "")
        exec(words[1], vars(sys.modules["__main__"]))
    else:
        sys.argv[:] = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
