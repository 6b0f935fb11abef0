"""Cross-entropy with the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.losses.base import LossTerm, needed
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class CE(LossTerm):
    """Cross-entropy of the CLS head, with hard labels or the soft labels of mixed images; both are smoothed alike.

    ``label_smoothing`` is the share of the uniform distribution in the target. ``dist`` also trains the DIST head on
    the labels (the loss is the mean of both). This is the control of a run that distils through a DIST token.

    Source: Szegedy et al., CVPR 2016, arXiv:1512.00567 (label smoothing).
    """

    def __init__(
        self, weight: float | Mapping[str, Any] = 1.0, label_smoothing: float = 0.1, dist: bool = False
    ) -> None:
        super().__init__(weight)
        self.label_smoothing = label_smoothing
        self.dist = dist

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Check that the heads are there.

        Raises:
            ValueError: the student has no classifier, or ``dist`` is set and the student has no DIST token.
        """
        if student.classes is None:
            raise ValueError("loss.ce needs a student with a classifier")
        if self.dist and not student.has_dist:
            raise ValueError(
                "loss.ce.dist=true needs a student with a DIST token: set it to false, or choose such a model"
            )

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the cross-entropy in nats, a scalar: the mean over images."""
        loss = self._one(needed(student.class_logits, "a student with a classifier"), batch.target)
        if not self.dist:
            return loss
        return (loss + self._one(needed(student.distill_logits, "a student with a DIST token"), batch.target)) / 2

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        target = target.to(logits.dtype) if target.is_floating_point() else target
        return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
