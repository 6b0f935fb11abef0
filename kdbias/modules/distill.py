"""The one LightningModule of the distillation experiments: student, teacher's answer, sum of the terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import build, builder
from kdbias.data.loader import ImageLoader
from kdbias.losses.base import LossTerm, Total
from kdbias.models.features import NetworkInfo, asked
from kdbias.models.teacher import Teacher
from kdbias.modules.supervised import Supervised


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
class Distill(Supervised):
    """Train a student by the sum of the loss terms that its spec names, with or without a teacher.

    Args:
        spec: as for every module, with ``loss`` added: one node for each term.
        teacher: gives the teacher's outputs; it is not part of the module, its checkpoint or its optimiser.
    """

    sums_terms: ClassVar[bool] = True

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None = None) -> None:
        super().__init__(spec)
        self.teacher = teacher
        self.total = build_total(spec["loss"], self.student.info, teacher.info if teacher else None, self.info)
        self.student = asked(self.student, self.total.student_needs)
        if teacher is not None:
            teacher.give(self.total.needs)

    def setup(self, stage: str) -> None:
        """Have DDP leave out what the terms remember: it is the same in all processes, and may be large."""
        super().setup(stage)
        remembered = [
            f"{path}.{name}"
            for path, term in self.named_modules()
            if isinstance(term, LossTerm) and term.remembers
            for name, _ in term.named_buffers(recurse=False)
        ]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, remembered)  # type: ignore[no-untyped-call]

    def on_train_start(self) -> None:
        """Tell the terms the class of every training image; a loader that is not the package's own cannot."""
        super().on_train_start()
        loader = self.trainer.train_dataloader
        if isinstance(loader, ImageLoader):
            self.total.take_classes(loader.labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the weighted total of the loss terms on one batch."""
        progress = self.progress
        teacher = None
        if self.teacher is not None:
            self.teacher.epoch = self.current_epoch
            teacher = self.teacher.answer(batch, self.global_step)
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
