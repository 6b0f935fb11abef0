"""Distillation from softened logits, as a loss term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.logits.kl import soft_kl, standardize_logits
from kdbias.losses.base import LossTerm
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.models.features import Features


@builder("loss")
class KL(LossTerm):
    """tau² KL(teacher ‖ student), on the DIST head if there is one, else on the logits.

    ``standardize`` compares z-scored logits (Sun et al., CVPR 2024; their setting is temperature 2, weight 9).
    ``reduction: numel`` is DeiT's soft distillation, C times smaller.

    Source: Hinton, Vinyals, Dean, 2015, arXiv:1503.02531.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 0.5,
        temperature: float = 4.0,
        reduction: Literal["batchmean", "numel"] = "batchmean",
        standardize: bool = False,
    ) -> None:
        super().__init__(weight)
        self.temperature = temperature
        self.reduction: Literal["batchmean", "numel"] = reduction
        self.standardize = standardize

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the divergence in nats, a scalar: the mean over images (``batchmean``)."""
        z_s, z_t = student_logits(student), teacher_logits(teacher)
        if self.standardize:
            z_s, z_t = standardize_logits(z_s), standardize_logits(z_t)
        return soft_kl(z_s, z_t, self.temperature, self.reduction)
