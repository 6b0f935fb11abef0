"""Decoupled knowledge distillation, as a loss term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.logits.decoupled import dkd
from kdbias.losses.base import LossTerm
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.models.features import Features

WARMUP = {"kind": "warmup", "value": 1.0, "until": 0.08}  # 20 of 240 epochs, as published


@builder("loss")
class DKD(LossTerm):
    """tau² (alpha TCKD + beta NCKD), on the DIST head if there is one, else on the logits; needs unmixed images.

    ``alpha`` weighs the target class against all others together, ``beta`` the others among themselves. CE is added to
    it with weight 1.

    Source: Zhao et al., CVPR 2022, arXiv:2203.08679.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "hard_target"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = WARMUP,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
    ) -> None:
        super().__init__(weight)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss in nats, a scalar: the mean over images."""
        return dkd(
            student_logits(student), teacher_logits(teacher), batch.target, self.alpha, self.beta, self.temperature
        )
