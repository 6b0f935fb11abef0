"""Relational knowledge distillation on penultimate features, as a loss term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.functional.rkd import rkd
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.gather import gather as gathered
from kdbias.losses.paired import require_images
from kdbias.models.features import Features

LEAST = 3  # images


@builder("loss")
class RKD(LossTerm):
    """Distances of pairs and angles of triples of images, the student's as the teacher's: no projection is needed.

    ``distance`` and ``angle`` weigh the two parts, ``squared`` compares squared distances. With ``gather`` the images
    are those of all processes. Time grows with their number cubed.

    Raises:
        ValueError: both parts weigh 0; a batch has fewer than three images.

    Source: Park et al., CVPR 2019, arXiv:1904.05068.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 1.0,
        distance: float = 25.0,
        angle: float = 50.0,
        squared: bool = False,
        gather: bool = True,
    ) -> None:
        super().__init__(weight)
        if distance == 0 and angle == 0:
            raise ArgumentError("angle", "with distance=0 and angle=0 nothing is compared: give one of them a weight")
        self.distance, self.angle, self.squared, self.gather = distance, angle, squared, gather

    @property
    def least_images(self) -> int:
        """The least number of images: three have an angle, and distances that may differ."""
        return LEAST

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the weighted sum of the two parts, a scalar."""
        ours, theirs = student.pooled, needed(teacher, "a teacher").pooled
        if self.gather:
            ours, theirs = gathered(ours), gathered(theirs)
        require_images(len(ours), LEAST, "loss.rkd", "leave rkd out of loss=[...]")
        return rkd(ours, theirs, self.distance, self.angle, self.squared)
