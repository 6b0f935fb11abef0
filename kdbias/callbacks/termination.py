"""SIGTERM ends a training at once, with the exit status that says so, on every process."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

STATUS = 128 + signal.SIGTERM


class Termination(Callback):
    """End a run on SIGTERM with status 143, through ``finally`` and ``on_exception``; its last checkpoint stays.

    Lightning's own handler broadcasts to the other processes from within the signal. If these are in another
    collective, rank 0 ignores the signal. The handler also exits with status 0, like a run that is complete. Its
    handler of SIGUSR1 stays, which saves a checkpoint under Slurm and requeues the job.

    Python drops an exception that a handler raises while an object is being deleted. So the next batch asks again.
    """

    def __init__(self) -> None:
        self._asked = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which it registers just before and restores at the end."""
        if threading.current_thread() is not threading.main_thread():
            return

        def leave(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the way out
            self._asked = True
            if trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(number)
            raise SystemExit(STATUS)

        signal.signal(signal.SIGTERM, leave)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End a run whose exit was dropped."""
        self._leave()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End a run whose exit was dropped."""
        self._leave()

    def _leave(self) -> None:
        if self._asked:
            raise SystemExit(STATUS)
