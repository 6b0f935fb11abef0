"""Cumulative spatial distillation: the patch tokens learn what a CNN's classifier sees at each place, then overall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.functional.cskd import cskd_dense, cskd_target
from kdbias.functional.grid import pool_maps
from kdbias.functional.logits.kl import soft_kl
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.schedule import Schedule
from kdbias.models.features import Features

Shape = Literal["linear", "square", "cosine"]


def local_share(schedule: Shape, progress: float) -> float:
    """Give the share of the local target, from 1 at ``progress`` 0 to 0 at 1.

    >>> [round(local_share(s, 0.5), 3) for s in ("linear", "square", "cosine")]
    [0.5, 0.25, 0.707]
    """
    if schedule == "cosine":
        return math.cos(math.pi * progress / 2)
    return (1 - progress) ** (2 if schedule == "square" else 1)


@builder("loss")
class CSKD(LossTerm):
    """alpha CE(z_dist, argmax g) + dense CE(S, argmax(r D + (1 - r) g)), the second a mean over places.

    D are the teacher's logits at every place of its last map, g is their mean over places. S are the student's: its
    DIST head, shared, on every patch token after the final norm. g equals the teacher's own logits only where a linear
    head follows the pooling (ResNet, EfficientNet; not ConvNeXt, whose norm comes after the pooling). S and the target
    are average-pooled to the smaller side of each axis of the two grids.

    ``ce`` trains the CLS head with weight 1 - ``alpha``. Images may be mixed: the term reads no labels. At inference
    the published logits are the mean of CLS, DIST and mean dense logits: ``model.inference=dense``.

    Args:
        weight: Weight of the term; the official code has none but those of its parts.
        alpha: Weight of the loss on the DIST head's logits, a number or a schedule.
        dense: Weight of the loss at the places.
        targets: ``hard`` for the target's class. ``soft`` for tau² KL as in the official code: a **sum** over places
            (64 times larger than their mean on a grid of 8×8), and on the DIST head divided by B·C as in DeiT's.
        temperature: tau of soft targets.
        schedule: r by progress x: ``linear`` 1 - x, ``square`` (1 - x)², ``cosine`` cos(pi x / 2). It falls with every
            step; the official code changes it once an epoch, so that its last epoch still has a local share.
        allow_misaligned: Accept ``augment.view=clean``.

    Source: Zhao, Song, Liang, ICCV 2023, arXiv:2307.08500.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"dense"})
    student_needs: ClassVar[frozenset[str]] = frozenset({"dense", "dist"})
    aligned: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 1.0,
        alpha: float | Mapping[str, Any] = 0.5,
        dense: float = 1.0,
        targets: Literal["hard", "soft"] = "hard",
        temperature: float = 1.0,
        schedule: Shape = "cosine",
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight)
        if targets == "hard" and temperature != 1:
            raise ArgumentError("temperature", f"hard targets have none, got {temperature}: set 1, or targets=soft")
        self.alpha, self.dense = Schedule.of(alpha), dense
        self.targets, self.temperature, self.shape = targets, temperature, schedule
        self.allow_misaligned = allow_misaligned

    @property
    def dist(self) -> bool:
        """Whether it trains the DIST token: at the places it trains the DIST head alone."""
        return any(self.alpha(place) > 0 for place in (0.0, *self.alpha.at, 1.0))

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss in nats, a scalar: the mean over images."""
        ours = needed(student.dense_logits, "a student with logits at each place")
        theirs = needed(None if teacher is None else teacher.dense_logits, "a teacher with logits at each place")
        whole = self._whole(needed(student.distill_logits, "a student with a DIST token"), theirs.mean(dim=(2, 3)))
        target = cskd_target(theirs, local_share(self.shape, progress))
        to = min(ours.shape[2], target.shape[2]), min(ours.shape[3], target.shape[3])
        hard = self.targets == "hard"
        places = cskd_dense(pool_maps(ours, to), pool_maps(target, to), hard, self.temperature)
        self.report = {"dist": whole.detach(), "dense": places.detach()}
        return self.alpha(progress) * whole + self.dense * places

    def _whole(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.targets == "hard":
            return F.cross_entropy(ours, theirs.argmax(dim=1))
        return soft_kl(ours, theirs, self.temperature, "numel")
