"""The one LightningModule of the distillation experiments: student, teacher's answer, sum of the terms."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from kdbias.batch import Batch, DataInfo
from kdbias.build import build
from kdbias.features import Extractor, NetworkInfo
from kdbias.losses.base import Total
from kdbias.modules.optim import clip_gradients, configure
from kdbias.teachers import Teacher


def step_seed(seed: int, rank: int, step: int) -> int:
    """Mix seed, rank and step into one 62-bit seed: what a step draws does not depend on the steps before it."""
    return int(torch.tensor([seed, rank, step], dtype=torch.int64).mul(_PRIMES).sum().abs() % (2**62))


_PRIMES = torch.tensor([1_000_003, 7_368_787, 2_147_483_647], dtype=torch.int64)


def build_total(terms: dict[str, Any], student: NetworkInfo, teacher: NetworkInfo | None, info: DataInfo) -> Total:
    """Build the loss terms of a spec (``{name: {_target_: ..., ...}}``; other entries, as ``alpha``, are settings)."""
    total = Total({name: build(term) for name, term in terms.items() if isinstance(term, dict) and "_target_" in term})
    total.build(student, teacher, info)
    return total


class Distill(L.LightningModule):
    """Train a student by the sum of the loss terms that its spec names, with or without a teacher.

    Args:
        spec: plain types only, with ``model``, ``loss``, ``optim`` (each a ``_target_`` with its arguments), ``data``
            (``DataInfo.to_dict()``), ``seed`` and ``channels_last``; kept in the checkpoint, from which
            ``kdbias.load_student`` builds the student again.
        teacher: answers the pictures; it is no part of the module, of its checkpoint or of its optimiser.

    Raises:
        FloatingPointError: the loss is not finite; names the step and the terms.
    """

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None = None) -> None:
        super().__init__()
        self.save_hyperparameters("spec")
        self.spec = spec
        self.info = DataInfo.from_dict(spec["data"])
        self.student: Extractor = build(spec["model"], self.info)
        self.teacher = teacher
        self.total = build_total(spec["loss"], self.student.info, teacher.info if teacher else None, self.info)
        self.val_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.train_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self._parts: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def setup(self, stage: str) -> None:
        """Put CNNs into channels-last order and compile the student in place, before DDP wraps the module."""
        if self.spec.get("channels_last") and self.student.info.family == "cnn":
            self.student.to(memory_format=torch.channels_last)
        if stage == "fit" and self.spec.get("compile"):
            self.student.compile()

    @property
    def progress(self) -> float:
        """The part of training done, 0 to 1, by steps."""
        return min(1.0, self.global_step / max(1, int(self.trainer.estimated_stepping_batches)))

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of pictures ``(B, C, H, W)`` in [0, 1]."""
        return cast(Tensor, self.student(image).logits)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed this step by (seed, rank, step): alone this made resume bit-identical."""
        self.student.choose_path()  # after validation the trainer sets modes back one by one, not by ``train``
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        torch.manual_seed(step_seed(int(self.spec["seed"]), self.global_rank, step))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the weighted total of the loss terms on one batch."""
        progress = self.progress
        teacher = self.teacher(batch.teacher_image) if self.teacher else None
        student = self.student(batch.image)
        loss, parts = self.total(student, teacher, batch, progress)
        self._collect(loss, parts)
        if batch.target.ndim == 1:  # accuracy on mixed pictures means nothing
            self.train_accuracy.update(student.class_logits.detach(), batch.target)
        if loss.device.type == "cpu":  # elsewhere it would wait for the device: there at steps that are logged
            self._require_finite(loss, parts)
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if (self.global_step + 1) % every == 0 or batch_idx + 1 == self.trainer.num_training_batches:
            self._log_step(loss, parts, progress, len(batch.image))
        return cast(Tensor, loss)

    def _collect(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        for name, value in {"total": loss.detach(), **parts}.items():
            self._parts[name] = self._parts[name] + value if name in self._parts else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _require_finite(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {float(value):.4g}" for name, value in parts.items())
            raise FloatingPointError(
                f"the loss is {float(loss.detach())} at step {self.global_step} ({values}): lower optim.optimizer.lr, "
                "set optim.clip, or train with trainer.precision=32-true"
            )

    def _log_step(self, loss: Tensor, parts: dict[str, Tensor], progress: float, size: int) -> None:
        self._require_finite(loss, parts)
        self.log("train/loss_step", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"loss/{name}": v for name, v in parts.items()}, prog_bar=True, batch_size=size)
        self.log_dict({f"weight/{name}": v for name, v in self.total.weights(progress).items()}, batch_size=size)
        optimizer = self.optimizers(use_pl_optimizer=False)
        self.log("lr", cast(torch.optim.Optimizer, optimizer).param_groups[0]["lr"], batch_size=size)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means; a loss that is not finite anywhere in the epoch ends the run."""
        means = {name: value / self._counts[name] for name, value in self._parts.items()}
        self._parts, self._counts = {}, {}
        bad = [name for name, value in means.items() if not torch.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"epoch {self.current_epoch}: {', '.join(bad)} not finite; lower optim.optimizer.lr"
            )
        self.log("train/loss", means.pop("total"), sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in means.items()}, sync_dist=True)
        if self.train_accuracy.update_called:
            self.log("train/accuracy", self.train_accuracy.compute())
        self.train_accuracy.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Accuracy and cross-entropy of the student's answer on the validation split."""
        self._evaluate(batch, self.val_accuracy, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the test set, once, at the end."""
        self._evaluate(batch, self.test_accuracy, "test")

    def _evaluate(self, batch: Batch, accuracy: nn.Module, stage: str) -> None:
        logits = self(batch.image).float()
        accuracy(logits, batch.target)
        size = len(batch.target)
        self.log(f"{stage}/accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)  # type: ignore[arg-type]
        loss = F.cross_entropy(logits, batch.target)
        self.log(f"{stage}/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the number of steps that the resumed run was planned for."""
        self.spec["steps"] = checkpoint["hyper_parameters"]["spec"].get("steps")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and schedule of ``optim``; the number of steps goes into the spec, for resume to compare."""
        steps = int(self.trainer.estimated_stepping_batches)
        before = self.spec.get("steps")
        if before is not None and before != steps:
            raise ValueError(
                f"this run was planned for {before} steps and now has {steps}: epochs and batch_size must stay"
            )
        self.spec["steps"] = steps
        return cast(OptimizerLRScheduler, configure(self.spec["optim"], self, steps))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by ``optim.clip``; the trainer's own clipping refuses fused AdamW under bf16-mixed."""
        if self.spec["optim"].get("clip"):
            clip_gradients(optimizer, float(self.spec["optim"]["clip"]))
