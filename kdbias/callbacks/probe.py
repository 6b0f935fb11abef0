"""A probe that runs during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure

from kdbias.build import build, target
from kdbias.callbacks.averaging import Averaging
from kdbias.probes.base import Probe, Result

Drawing = Callable[[Sequence[Result]], Figure]


class ProbeCallback(Callback):
    """Run a probe on the student at the end of validation, every ``every`` epochs and in the last one.

    With weight averaging the averaged weights are probed, those that validation sees. ``initial`` probes the
    untrained student as epoch 0. ``pictures`` are the first so many of the validation split. ``figure`` names a
    function of the Results so far, in order, to a figure.

    Each Result goes to ``<run>/probes/<name>-epoch<k>.{json,npz}``, ``k`` epochs done; its scalars to every logger as
    ``probe/<name>/<scalar>``; the figure to TensorBoard. Rank 0 alone does it, with no collective call. Training is
    the same with and without, bit for bit: modes, kernels and random numbers are left as found. A run that stops
    early has no probe of its last epoch unless ``every`` divides it.
    """

    def __init__(
        self,
        name: str,
        probe: Mapping[str, Any] | Probe,
        every: int = 10,
        pictures: int = 1024,
        figure: str | None = None,
        initial: bool = True,
    ) -> None:
        if every < 1 or pictures < 1:
            raise ValueError(f"callback.probe_{name}: every and pictures must be at least 1, got {every}, {pictures}")
        self.name, self.every, self.pictures, self.initial = name, every, pictures, initial
        self.probe: Probe = build(probe) if isinstance(probe, Mapping) else probe
        self.figure: Drawing | None = None if figure is None else target({"_target_": figure})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Probe the untrained student."""
        if self.initial and trainer.global_step == 0:
            self._run(trainer, pl_module, epoch=0, weights="initial")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Probe after the last validation batch.

        At the validation epoch's end it would depend on the order of the callbacks whether averaged weights are still
        in place.
        """
        counts = trainer.num_val_batches
        last = dataloader_idx + 1 == len(counts) and batch_idx + 1 == counts[dataloader_idx]
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not last:
            return
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0 or epoch == trainer.max_epochs:
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            averaged = any(isinstance(other, Averaging) and other.begun for other in callbacks)
            self._run(trainer, pl_module, epoch=epoch, weights="averaged" if averaged else "current")

    def _run(self, trainer: Trainer, pl_module: LightningModule, *, epoch: int, weights: str) -> None:
        if not trainer.is_global_zero:
            return
        folder, device = Path(trainer.default_root_dir) / "probes", pl_module.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode(False):
            batches = trainer.datamodule.batches("val", device, limit=self.pictures)  # type: ignore[attr-defined]
            result = self.probe(pl_module.student, batches)  # type: ignore[arg-type]
        meta = result.meta | {"epoch": epoch, "step": trainer.global_step, "weights": weights}
        replace(result, name=f"{self.name}-epoch{epoch}", meta=meta).save(folder)
        scalars = {f"probe/{self.name}/{key}": value for key, value in result.scalars.items()}
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=trainer.global_step)
        if self.figure is not None:
            self._draw(trainer, history(folder, self.name, until=epoch))

    def _draw(self, trainer: Trainer, results: Sequence[Result]) -> None:
        assert self.figure is not None
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"probe/{self.name}", self.figure(results), trainer.global_step)


def history(folder: str | Path, name: str, until: int | None = None) -> list[Result]:
    """Read the Results that a ``ProbeCallback`` left in ``folder``, by epoch, up to the epoch ``until``."""
    epochs = sorted(int(path.stem.rpartition("-epoch")[2]) for path in Path(folder).glob(f"{name}-epoch*.json"))
    return [Result.load(folder, f"{name}-epoch{epoch}") for epoch in epochs if until is None or epoch <= until]
