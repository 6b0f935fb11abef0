"""Hard distillation: the teacher's decision as a label."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.losses.base import LossTerm
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.models.features import Features


@builder("loss")
class HardKL(LossTerm):
    """Cross-entropy with the class that the teacher chooses, on the DIST head if there is one, else on the logits.

    There is no label smoothing and no temperature. The term does not read the true label, so images may be mixed: the
    teacher's answer is the label.

    Source: Touvron et al., ICML 2021, arXiv:2012.12877 (DeiT, "hard-label distillation").
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the cross-entropy in nats, a scalar: the mean over images."""
        return F.cross_entropy(student_logits(student), teacher_logits(teacher).argmax(dim=1))
