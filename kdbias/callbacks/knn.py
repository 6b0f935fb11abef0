"""How well frozen features separate the classes, during training and at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from kdbias.batch import Batch
from kdbias.callbacks.due import due
from kdbias.config.build import builder
from kdbias.data.base import ImageData
from kdbias.models.evaluation import full_fp32
from kdbias.probes.frozen import Read, read_frozen
from kdbias.probes.knn import KNNProbe
from kdbias.probes.linear_probe import LinearProbe
from kdbias.probes.reasons import by_epoch, said, why


@builder("callback")
class FrozenFeatures(Callback):
    """Log how well the student's frozen features separate the classes.

    The callback reads labels. They choose the checkpoint only if the config says so (``objective=val/knn``).

    ``val/knn`` is the accuracy of nearest neighbours. ``val/linear`` is that of a linear classifier fitted to the same
    ``bank`` and tested on the same images. Each is measured on the first ``images`` of the validation split: in the
    first epoch, every few epochs and in the last epoch, with averaged weights once averaging has begun. Each is also
    measured on the untrained student (``val/knn_initial``, and ``val/knn`` at step 0; likewise ``linear``). The bank
    holds the first ``bank`` training images, but no more than an epoch trains on. Rank 0 measures and sends the values
    to the others. Training with and without the callback is the same, bit for bit. A value that cannot be measured is
    left out. A line says so, and ``refusals`` repeats it. It ends the training only if it chooses the best checkpoint,
    or if the device is broken.

    Args:
        every: epochs between two values of ``val/knn``.
        linear_every: epochs between two values of ``val/linear``; None leaves it out.
        images: of the validation split; None for all.
        bank: training images among which neighbours are sought and to which the classifier is fitted; None for all.
        k, temperature: as in ``weighted_knn``.
        features: as in ``read_features``: ``pooled``, or the mean of the last layer's patch ``tokens``.
        linear: training images of the linear probe at the end of the run; None for all, 0 for no probe.

    Raises:
        ValueError: a number is out of range, or ``features`` is unknown.
    """

    metrics: ClassVar[frozenset[str]] = frozenset({"val/knn"})
    metrics_where: ClassVar[Mapping[str, str]] = {"val/linear": "linear_every"}  # logged unless this argument is None

    def __init__(
        self,
        every: int = 5,
        images: int | None = 2048,
        bank: int | None = 5000,
        k: int = 20,
        temperature: float = 0.07,
        features: Read = "pooled",
        linear: int | None = 20_000,
        linear_every: int | None = 5,
    ) -> None:
        self.periods = {"knn": every} | ({} if linear_every is None else {"linear": linear_every})
        self.images, self.bank, self.k, self.temperature = images, bank, k, temperature
        self.features: Read = features
        self.linear = linear
        self.initial: dict[str, float] = {}
        self.latest: dict[str, float] = {}
        self.refused: dict[str, dict[str, list[int]]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Give the values that a resumed run needs."""
        return {"initial": self.initial, "latest": self.latest, "refused": self.refused}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the values of ``state_dict``."""
        self.initial, self.latest = _by_name(state_dict["initial"]), _by_name(state_dict["latest"])
        self.refused = state_dict.get("refused", {})  # older checkpoints have none

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained student."""
        if trainer.global_step == 0:
            self.initial = self._measure(trainer, pl_module, self.periods)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the values that are due; averaged weights are still in place here."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        now = [
            name for name, every in self.periods.items()
            if trainer.should_stop or name not in self.latest or due(trainer, every)
        ]  # fmt: skip
        if now:
            self.latest |= self._measure(trainer, pl_module, now)
        # ModelCheckpoint reads the latest value in every epoch, also after a resume; loggers get it once
        for name in self.periods:
            if name in self.latest:
                pl_module.log(f"val/{name}", self.latest[name], prog_bar=True, logger=False)
            if name in self.initial:
                pl_module.log(f"val/{name}_initial", self.initial[name], logger=False)

    def final(self, data: ImageData, epoch: int, prefix: str = "") -> list[KNNProbe | LinearProbe]:
        """Give the probes ``<prefix>knn`` and ``<prefix>linear`` of the end of the run; ``epoch`` as in ``probe``."""
        probes: list[KNNProbe | LinearProbe] = [replace(self.probe(data, epoch), name=f"{prefix}knn")]
        if self.linear != 0:
            bank = _most(data, epoch, self.linear)
            probes.append(LinearProbe(data, bank, features=self.features, name=f"{prefix}linear"))
        return probes

    def probe(self, data: ImageData, epoch: int) -> KNNProbe:
        """Give the probe that measures ``val/knn``; ``epoch`` is the number of images that an epoch trains on."""
        return KNNProbe(data, _most(data, epoch, self.bank), self.k, self.temperature, self.features)

    def linear_probe(self, data: ImageData, epoch: int) -> LinearProbe:
        """Give the probe that measures ``val/linear``; ``epoch`` is as in ``probe``."""
        return LinearProbe(data, _most(data, epoch, self.bank), features=self.features)

    def refusals(self, folder: str | Path) -> dict[str, str]:
        """Give, by name, the reason why a value was not measured in some epochs; empty if all were measured."""
        return {f"val/{name}": by_epoch(reasons) for name, reasons in self.refused.items()}

    def _measure(self, trainer: Trainer, pl_module: LightningModule, names: Iterable[str]) -> dict[str, float]:
        """Give the values of probes by name, and log them.

        Raises:
            ValueError: the value that chooses the best checkpoint could not be measured.
        """
        told: tuple[dict[str, float], dict[str, str], str] = ({}, {}, "")
        try:
            if trainer.is_global_zero:
                told = (*self._values(trainer, pl_module, names), "")
        except Exception as error:
            told = ({}, {}, f"{type(error).__name__}: {said(error)}")
            raise
        finally:  # the other processes wait for the broadcast, also after an error
            found, refused, failure = trainer.strategy.broadcast(told)
        if failure:
            raise RuntimeError(f"callback.knn failed in process 0: {failure}")
        self._refuse(trainer, refused)
        values = {f"val/{name}": value for name, value in found.items()}
        for logger in trainer.loggers if values else ():
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step)
        return found

    def _values(
        self, trainer: Trainer, pl_module: LightningModule, names: Iterable[str]
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Give the values of probes by name, and by name the reasons why others have none."""
        data, device = trainer.datamodule, pl_module.device  # type: ignore[attr-defined]
        epoch, student = epoch_images(trainer), pl_module.student
        made: dict[str, KNNProbe | LinearProbe] = {
            "knn": self.probe(data, epoch),
            "linear": self.linear_probe(data, epoch),
        }
        devices = [device] if device.type == "cuda" else []
        found: dict[str, float] = {}
        refused: dict[str, str] = {}
        with torch.random.fork_rng(devices), torch.inference_mode(False), full_fp32():
            batches: Iterator[Batch] = data.batches("val", device, limit=self.images)
            try:
                bank = _most(data, epoch, self.bank)
                frozen = read_frozen(student, data, bank, batches, self.features, "fp32")  # type: ignore[arg-type]
            except Exception as error:
                return {}, dict.fromkeys(names, why(error))
            for name in names:
                try:
                    found[name] = made[name].judge(frozen).scalars[name]
                except Exception as error:
                    refused[name] = why(error)
        return found, refused

    def _refuse(self, trainer: Trainer, refused: Mapping[str, str]) -> None:
        watched = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
        epoch = trainer.current_epoch + 1 if trainer.global_step else 0
        for name, reason in refused.items():
            if f"val/{name}" in watched:
                raise ValueError(f"objective=val/{name}: it cannot be measured: {reason}")
            reasons = self.refused.setdefault(name, {})
            if trainer.is_global_zero and reason not in reasons:
                print(f"val/{name}: refused, {reason}", flush=True)
            reasons.setdefault(reason, []).append(epoch)
            self.latest.pop(name, None)  # an older value is not that of this epoch


def _by_name(state: dict[str, float] | float | None) -> dict[str, float]:
    """Read a state; older checkpoints hold the value of k-NN alone, None before it was measured."""
    if isinstance(state, dict):
        return state
    return {} if state is None else {"knn": state}


def _most(data: ImageData, epoch: int, wanted: int | None) -> int:
    return min(epoch, data.info.train, wanted or data.info.train)


def epoch_images(trainer: Trainer) -> int:
    """Give the number of images that an epoch trains on."""
    data: ImageData = trainer.datamodule  # type: ignore[attr-defined]
    return int(trainer.num_training_batches) * data.batch_size
