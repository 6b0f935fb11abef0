"""Locality guidance: a transformer's early and late maps learn those of a CNN's stages, place by place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.grid import resample_tokens
from kdbias.losses.base import needed
from kdbias.losses.paired import By, Chosen, PairedTerm
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class Locality(PairedTerm):
    """Squared difference of raw maps, a mean over images, places and channels and a **sum** over pairs of layers.

    A 1×1 convolution brings the student's map to the teacher's width. If the grids differ, both maps are resampled
    (bilinear) to the larger side of each axis. Nothing is normalised: the loss has the teacher's scale. The paper pairs
    blocks 0, 6, 11 of a DeiT with the three stages of a ResNet-56; the yaml names their depths, for a student of any
    depth.

    Source: Li et al., ECCV 2022, arXiv:2207.10026.
    """

    aligned: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 2.5,
        layers: Chosen = "all",
        teacher_layers: Chosen = "all",
        by: By = "depth",
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers and make the convolutions."""
        super().build(student, teacher, data)
        theirs = needed(teacher, "a teacher").layers
        # On tokens a 1×1 convolution is a linear layer, with the same initial values.
        self.project = nn.ModuleList(nn.Linear(student.layers[i].width, theirs[j].width) for i, j in self.pairs)

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the sum over the pairs of the mean squared differences, a scalar."""
        teacher = needed(teacher, "a teacher")
        losses = []
        for project, name, (i, j) in zip(self.project, self.names, self.pairs, strict=True):
            (h, w), (teacher_h, teacher_w) = student.grids[i], teacher.grids[j]
            to = (max(h, teacher_h), max(w, teacher_w))
            ours = resample_tokens(project(student.tokens[i]), student.grids[i], to)
            losses.append(F.mse_loss(ours, resample_tokens(teacher.tokens[j], teacher.grids[j], to)))
            self.report[name] = losses[-1].detach()
        return torch.stack(losses).sum()
