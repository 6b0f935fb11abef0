"""SimCLR: each view of an image identifies the other view among all views of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdbias.config.build import builder
from kdbias.functional.simclr import nt_xent, pair_accuracy
from kdbias.losses.gather import gather
from kdbias.models.teacher import Teacher
from kdbias.modules.ssl import Comparison, Read, SelfSupervised
from kdbias.modules.ssl_heads import projector


@builder("module")
class SimCLR(SelfSupervised):
    """Train by ``nt_xent`` of projected features, over the images of all processes.

    The module also logs ``pairs``: the share of views whose nearest view is their partner.

    Args:
        spec, teacher, views, collapse, features: as for ``SelfSupervised``.
        temperature: of the cosines.
        hidden: width of the projector's hidden layer.
        dim: width of its result.
        gather: whether the views of all processes are compared. Any number of processes then equals one if
            ``trainer.sync_batchnorm`` is set too, because the projector has BatchNorm.

    Raises:
        ValueError: as ``SelfSupervised``.

    Source: Chen et al., ICML 2020, arXiv:2002.05709.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        teacher: Teacher | None = None,
        *,
        views: Mapping[str, Any],
        collapse: Mapping[str, Any],
        features: Read = "pooled",
        temperature: float = 0.2,
        hidden: int = 256,
        dim: int = 64,
        gather: bool = True,
    ) -> None:
        super().__init__(spec, teacher, views=views, collapse=collapse, features=features)
        self.temperature, self.gather = temperature, gather
        self.projector = projector(self.width, hidden, dim)

    def compare(self, one: Tensor, two: Tensor) -> Comparison:
        """Embed both views in one pass, so that BatchNorm sees them together."""
        features = self.chosen(self.student(torch.cat([one, two])))
        embedded = self.projector(features).float().chunk(2)
        first, second = (gather(part) if self.gather else part for part in embedded)
        loss = nt_xent(first, second, self.temperature)
        return Comparison(loss, {"pairs": pair_accuracy(first, second)}, features, {})
