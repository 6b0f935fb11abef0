"""The processes of a run must find each other within a bounded time; until then they give no signs of life.

A process that is stopped before all have met, or whose machine hangs, would have the others wait for as long as a
collective may last (30 minutes).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial

from lightning.pytorch.strategies import ParallelStrategy, Strategy

START = 60.0  # seconds beside the timeout: a process imports for 10 s, on a busy machine several times as long
ROUND = 1.0  # seconds between two looks
FIRST = "KDBIAS_FIRST_PROCESS"
"""Names to the processes that a run starts the one that started them, of rank 0."""


class Meeting:
    """End this process with status 1 if the others have not come within ``timeout`` + ``start`` seconds.

    It begins where the process looks for the others and ends by ``over``. A pause of this process itself does not
    count. Processes that this one started are killed with it, and so is a stopped one of rank 0 that started it. If
    that one is gone, nobody will come, and this process ends at once.
    """

    def __init__(self, timeout: float, start: float = START) -> None:
        self.timeout, self.start = timeout, start
        self._over = threading.Event()

    def attach(self, strategy: Strategy) -> None:
        """Have the meeting begin when the processes of ``strategy`` look for each other; one process meets nobody."""
        if isinstance(strategy, ParallelStrategy):
            if "LOCAL_RANK" not in os.environ:  # not started by another process of the run
                os.environ[FIRST] = str(os.getpid())
            strategy.setup_environment = partial(self._set_up, strategy)  # type: ignore[method-assign]

    def over(self) -> None:
        """Say that all are there, or that this process has ended its part by itself."""
        self._over.set()

    def _set_up(self, strategy: ParallelStrategy) -> None:
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(strategy, self._over), daemon=True).start()
        try:
            type(strategy).setup_environment(strategy)
        except BaseException:
            self.over()
            raise

    def _watch(self, strategy: ParallelStrategy, over: threading.Event) -> None:
        first = int(os.environ.get(FIRST, os.getpid()))
        started_by = None if first == os.getpid() else first  # it may be gone by now
        for _ in range(round((self.timeout + self.start) / ROUND)):
            if over.wait(ROUND):
                return
            if started_by is not None and os.getppid() != started_by:
                self._end("the process that started it is gone", [])
        started = [process.pid for process in getattr(strategy.launcher, "procs", [])]
        waited = f"the others have not come within {self.timeout + self.start:g} s (trainer.timeout={self.timeout:g}"
        self._end(
            f"{waited} and {self.start:g} s for their start)", [*started, *([] if started_by is None else [started_by])]
        )

    def _end(self, reason: str, others: list[int]) -> None:
        print(f"process {os.getpid()} ends: {reason}; give the command again", file=sys.stderr, flush=True)
        for process in others:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os._exit(1)  # the main thread waits in the store of the processes, which nothing interrupts
