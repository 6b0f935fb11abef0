"""How fast a run trains and how much memory it takes."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from kdbias.config.build import builder

GIB = 2**30


@builder("callback")
class Throughput(Callback):
    """Log images a second, seconds and peak GPU memory of each epoch; validation does not count.

    Logs ``train/images_per_second`` (all processes together), ``train/seconds`` (s) and, on a GPU,
    ``train/peak_memory`` (GiB, of this process, since the start).
    """

    def __init__(self) -> None:
        self._images = 0
        self._began = 0.0
        self._paused: float | None = None

    @property
    def images_per_second(self) -> float:
        """The rate of the epoch so far."""
        return self._images / max(self._seconds(), 1e-9)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        _finish(pl_module)
        self._images, self._paused = 0, None
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of the batch (its first entry)."""
        self._images += len(batch[0]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            _finish(pl_module)
            self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        if self._paused is not None:
            _finish(pl_module)
            self._began += time.perf_counter() - self._paused
            self._paused = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch."""
        _finish(pl_module)
        values = {"train/images_per_second": self.images_per_second, "train/seconds": self._seconds()}
        if pl_module.device.type == "cuda":
            values["train/peak_memory"] = torch.cuda.max_memory_allocated(pl_module.device) / GIB
        pl_module.log_dict(values, sync_dist=True)

    def _seconds(self) -> float:
        now = time.perf_counter() if self._paused is None else self._paused
        return now - self._began


def _finish(pl_module: LightningModule) -> None:
    """Wait for what is queued on the GPU."""
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize(pl_module.device)
