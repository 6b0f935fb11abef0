"""DIST: correlation between the student's and the teacher's probabilities, as a loss term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.logits.dist import dist
from kdbias.losses.base import LossTerm
from kdbias.losses.gather import gather as gathered
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.models.features import Features


@builder("loss")
class DIST(LossTerm):
    """tau² [beta (1 - r of rows) + gamma (1 - r of columns)], on the DIST head if there is one, else on the logits.

    ``beta`` weighs the classes of one image, ``gamma`` the images of one class; CE is added to it with weight 1.
    Weight 2 and tau 4 are those of the official code on CIFAR-100 (tau 1 on ImageNet). ``gather`` takes the columns
    over the images of all processes; without it each process correlates its own.

    Raises:
        ValueError: a weight of a part below 0, or ``temperature`` <= 0.

    Source: Huang et al., NeurIPS 2022, arXiv:2205.10536.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 2.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 4.0,
        gather: bool = True,
    ) -> None:
        super().__init__(weight)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature
        self.gather = gather

    @property
    def least_images(self) -> int:
        """The least number of images: two where columns are compared."""
        return 2 if self.gamma > 0 else 1

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss, a scalar, 0 where all correlations are 1."""
        z_s, z_t = student_logits(student), teacher_logits(teacher)
        if self.gather:
            z_s, z_t = gathered(z_s), gathered(z_t)
        return dist(z_s, z_t, self.beta, self.gamma, self.temperature)
