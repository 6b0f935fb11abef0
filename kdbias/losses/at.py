"""Attention transfer: the student's features are large where the teacher's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.attention_transfer import attention_transfer
from kdbias.losses.base import needed
from kdbias.losses.paired import By, Chosen, PairedTerm, require_tokens
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class AT(PairedTerm):
    """The squared difference of energy maps: a mean over layers, images and places of the coarser grid.

    The energy of a place is the mean of ``|x|^power`` over channels; the map of an image has length 1. There is no
    projection. This is activation-based attention of any network, not the attention between a transformer's tokens.

    Raises:
        ValueError: ``power`` below 1.

    Source: Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928.
    """

    aligned: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 3000.0,
        power: float = 2.0,
        layers: Chosen = "all",
        teacher_layers: Chosen = "all",
        by: By = "depth",
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        self.power = power

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: a layer with a single place, whose map is always 1.
        """
        super().build(student, teacher, data)
        require_tokens(student, teacher, self.pairs, 2, "loss.at")

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the mean difference, a scalar."""
        teacher = needed(teacher, "a teacher")
        return self.mean(
            {
                name: attention_transfer(_maps(student, i), _maps(teacher, j), self.power)
                for name, (i, j) in zip(self.names, self.pairs, strict=True)
            }
        )


def _maps(features: Features, layer: int) -> Tensor:
    """The tokens of a layer as maps ``(B, D, h, w)``."""
    tokens = features.tokens[layer]
    return tokens.mT.reshape(len(tokens), -1, *features.grids[layer])
