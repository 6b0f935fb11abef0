"""The processes of a run tell each other that they are alive; if one falls silent, the others end.

A process that is killed closes its connections, and the collectives of the others fail. A process that is stopped, or
whose machine hangs, closes nothing: the others would wait in their collectives for their timeout (30 minutes), and in
a probe of rank 0 for a day. The signs of life come from threads, so that a step may last as long as it wants.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from kdbias.modules.meeting import Meeting

INTERVAL = 1.0  # seconds between two signs of life
GRACE = 5.0  # seconds that a process has to end by its own error before it is ended
OVER = "over"  # the last sign of a process that has nothing more to do with the others


@dataclass
class Silence:
    """How long the others have been silent, in rounds of this process.

    A pause of this process itself (Ctrl-Z, a machine that sleeps) is one round, however long it lasts.
    """

    rounds: int
    last: dict[int, str] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)

    def hear(self, rank: int, sign: str) -> bool:
        """Take the present sign of a rank; give whether it has been the same for more than ``rounds`` rounds."""
        changed = sign == OVER or self.last.get(rank) != sign
        self.last[rank] = sign
        self.missed[rank] = 0 if changed else self.missed.get(rank, 0) + 1
        return self.missed[rank] > self.rounds


class Heartbeat(Callback):
    """End this process with status 1 if another one has shown no sign of life for ``timeout`` seconds.

    Rank 0 holds the signs and looks at all of them; the other ranks look at that of rank 0. When rank 0 ends, the
    others lose it, and end too. A silent process of the same machine is killed first, so that whoever waits for it
    sees its end.
    """

    def __init__(self, timeout: float, meeting: Meeting | None = None) -> None:
        self.timeout = timeout
        self._meeting = meeting
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin, if there are several processes; all of them call it, after they have found each other."""
        if stage != "fit" or trainer.world_size == 1:
            self._met()
            return
        rank, limit = trainer.global_rank, timedelta(seconds=self.timeout)
        host = str(trainer.strategy.cluster_environment.main_address)  # type: ignore[attr-defined]
        own = TCPStore(host, 0, is_master=True, timeout=limit, wait_for_workers=False) if rank == 0 else None
        port, first = trainer.strategy.broadcast((own.port if own else 0, os.getpid()))
        store = own or TCPStore(host, port, is_master=False, timeout=limit, wait_for_workers=False)
        self._over.clear()
        watched, signs = _watched(trainer, first), dict.fromkeys(range(trainer.world_size), "")
        exchange = threading.Thread(target=self._exchange, args=(store, rank, signs), daemon=True)
        watch = threading.Thread(target=self._watch, args=(rank, watched, signs), daemon=True)
        self._threads = [exchange, watch]
        for thread in self._threads:
            thread.start()
        self._met()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the meeting of a run that fails before all have met."""
        self._met()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say that this process goes its own way from here."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=2 * INTERVAL)
        self._threads = []

    def _met(self) -> None:
        if self._meeting is not None:
            self._meeting.over()

    def _exchange(self, store: TCPStore, rank: int, signs: dict[int, str]) -> None:
        """Give signs and take those of the others; a stopped rank 0 never answers, so this decides nothing."""
        others = [one for one in (signs if rank == 0 else [0]) if one != rank]
        count = 0
        with suppress(DistError):  # rank 0 is gone: its sign stays as it was
            while not self._over.wait(INTERVAL):
                count += 1
                store.set(str(rank), str(count))
                for other in others:
                    signs[other] = store.get(str(other)).decode() if store.check([str(other)]) else ""
            store.set(str(rank), OVER)

    def _watch(self, rank: int, watched: dict[int, int | None], signs: dict[int, str]) -> None:
        silence = Silence(round(self.timeout / INTERVAL))
        while not self._over.wait(INTERVAL):
            for other, process in watched.items():
                if silence.hear(other, signs[other]):
                    self._end(rank, other, process)

    def _end(self, rank: int, other: int, process: int | None) -> None:
        """Kill ``other`` if this machine runs it; end this process by its own error if it has one, or without."""
        text = f"process {rank} ends: process {other} is gone, or has shown no sign of life for {self.timeout:g} s"
        print(f"{text} (trainer.timeout); resume=RUN_DIR goes on from the last checkpoint", file=sys.stderr, flush=True)
        if process is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if not self._over.wait(GRACE):
            os._exit(1)  # the main thread may be in a collective, which nothing interrupts


def _watched(trainer: Trainer, first: int) -> dict[int, int | None]:
    """The ranks to look at; each with its process id, where this process may kill it: parent and children alone."""
    if trainer.global_rank > 0:
        return {0: first if trainer.node_rank == 0 and os.getppid() == first else None}
    started = getattr(trainer.strategy.launcher, "procs", [])
    children: dict[int, int] = {rank: process.pid for rank, process in enumerate(started, start=1)}
    return {rank: children.get(rank) for rank in range(1, trainer.world_size)}
