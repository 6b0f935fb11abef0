"""Gram matrices of tokens: places of the student's image become as similar to each other as the teacher's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.gram import gram_distance
from kdbias.losses.paired import By, Chosen, PairedTerm, require_tokens
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class Gram(PairedTerm):
    """The mean squared difference of the Gram matrices of each image's unit tokens: a mean over layers and images.

    The teacher's tokens are resampled to the student's grid; there is no projection. ``as_published`` takes
    |G_s - G_t|_F / N² of each image instead. That is N times smaller than the root of the default: nearly inactive.
    The term holds N x N numbers for each image, which is much memory at a CNN's first stages.

    Source: Siméoni et al., 2025, arXiv:2508.10104 (Gram anchoring); as published: the earlier study's EXP-3.
    """

    aligned: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 0.5,
        as_published: bool = False,
        layers: Chosen = "all",
        teacher_layers: Chosen = "all",
        by: By = "depth",
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        self.as_published = as_published

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: a layer with a single token.
        """
        super().build(student, teacher, data)
        require_tokens(student, teacher, self.pairs, 2, "loss.gram")

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the mean distance, a scalar of 0 to 4."""
        return self.mean(
            {
                pair.name: gram_distance(pair.student, pair.teacher, frobenius=self.as_published).mean()
                for pair in self.compared(student, teacher)
            }
        )
