"""Redundancy suppression distillation on penultimate features, as a loss term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.rsd import rsd
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.gather import gather as gathered
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class RSD(LossTerm):
    """Cross-correlation of projected student and teacher penultimate features, driven to the identity.

    Only the student's features are projected, so that they need not decorrelate themselves. The projection is
    Linear(d, ``expansion`` d)-BN-GELU-Linear(to the teacher's width), without biases. ``kappa`` weighs the redundancy
    (off the diagonal). The loss is a sum over the teacher's features: its scale grows with their number. ``gather``
    brings the features of all processes together before the projection, so that both normalisations see the whole
    batch. BN keeps no running statistics: the projection exists in training only.

    Raises:
        ValueError: ``kappa`` < 0 or ``expansion`` < 1; in training, a batch of one image.

    Source: Zhang et al., ICCV 2025, arXiv:2507.21844.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 0.1,
        kappa: float = 0.01,
        expansion: int = 2,
        gather: bool = True,
    ) -> None:
        super().__init__(weight)
        self.kappa, self.expansion, self.gather = kappa, expansion, gather

    @property
    def least_images(self) -> int:
        """The least number of images: two have a correlation."""
        return 2

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Make the projection, from the student's width to the teacher's."""
        hidden = self.expansion * student.width
        self.projection = nn.Sequential(
            nn.Linear(student.width, hidden, bias=False),
            nn.BatchNorm1d(hidden, track_running_stats=False),
            nn.GELU(),
            nn.Linear(hidden, needed(teacher, "a teacher").width, bias=False),
        )
        for module in self.projection:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss, a scalar: a sum over the teacher's features."""
        pooled_s, pooled_t = student.pooled, needed(teacher, "a teacher").pooled
        if self.gather:
            pooled_s, pooled_t = gathered(pooled_s), gathered(pooled_t)
        if len(pooled_s) < 2:
            raise ValueError("loss.rsd correlates over the images of a batch and got 1: raise batch_size")
        return rsd(cast(Tensor, self.projection(pooled_s)), pooled_t, self.kappa)
