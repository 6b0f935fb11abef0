"""The one LightningModule of the distillation experiments: student, teacher's answer, sum of the terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import build, builder
from kdbias.losses.base import Total
from kdbias.models.features import NetworkInfo, asked
from kdbias.models.teacher import Teacher
from kdbias.modules.base import StudentModule


def build_total(terms: dict[str, Any], student: NetworkInfo, teacher: NetworkInfo | None, info: DataInfo) -> Total:
    """Build loss terms from nodes (``{name: {_target_: ..., ...}}``; other entries, as ``alpha``, are settings)."""
    total = Total(
        {
            name: build(term, group="loss")
            for name, term in terms.items()
            if isinstance(term, dict) and "_target_" in term
        }
    )
    total.build(student, teacher, info)
    return total


@builder("module")
class Distill(StudentModule):
    """Train a student by the sum of the loss terms that its spec names, with or without a teacher.

    Args:
        spec: as for every module, with ``loss`` added: one node for each term.
        teacher: gives the teacher's outputs; it is not part of the module, its checkpoint or its optimiser.
    """

    sums_terms: ClassVar[bool] = True
    metrics: ClassVar[frozenset[str]] = frozenset({"val/accuracy", "val/loss"})

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None = None) -> None:
        super().__init__(spec)
        self.teacher = teacher
        self.total = build_total(spec["loss"], self.student.info, teacher.info if teacher else None, self.info)
        self.student = asked(self.student, self.total.student_needs)
        if teacher is not None:
            teacher.give(self.total.needs)
        self.val_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.train_accuracy = MulticlassAccuracy(self.info.classes, average="micro")

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return cast(Tensor, self.student(image).logits)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the weighted total of the loss terms on one batch."""
        progress = self.progress
        teacher = self.teacher.answer(batch, self.global_step) if self.teacher else None
        student = self.student(batch.image)
        loss, parts = self.total(student, teacher, batch, progress)
        self.total.hold(batch_idx)
        self.record(loss, parts)
        if batch.target.ndim == 1:  # accuracy on mixed images means nothing
            self.train_accuracy.update(student.class_logits.detach(), batch.target)
        if self.logs_step(batch_idx):
            self.log_step(loss, parts, len(batch.image))
            weights = {f"weight/{name}": value for name, value in self.total.weights(progress).items()}
            self.log_dict(weights, batch_size=len(batch.image))
        return cast(Tensor, loss)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Make a step, then update the state of the terms before any callback saves it."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.total.update()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, and the accuracy if its images were not mixed."""
        super().on_train_epoch_end()
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
