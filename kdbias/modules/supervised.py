"""Training a classifier: its answer to an image, and its accuracy on validation and test images."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from kdbias.batch import Batch
from kdbias.modules.base import StudentModule


class Supervised(StudentModule):
    """Train a network that answers with logits; a subclass implements ``training_step``."""

    metrics: ClassVar[frozenset[str]] = frozenset({"val/accuracy", "val/loss"})

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.val_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(self.info.classes, average="micro")
        self.train_accuracy = MulticlassAccuracy(self.info.classes, average="micro")

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return cast(Tensor, self.student(image).logits)

    def on_train_epoch_end(self) -> None:
        """Log the accuracy if the epoch's images were not mixed, and the epoch's means."""
        if self.train_accuracy.update_called:
            self.log("train/accuracy", self.train_accuracy.compute())
        self.train_accuracy.reset()
        super().on_train_epoch_end()  # a schedule may read the accuracy

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
