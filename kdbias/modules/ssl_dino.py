"""DINO: a network predicts the output of its own slow average for another view."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.collapse import entropy_ratios
from kdbias.functional.dino_loss import dino_loss, dino_targets, moved_center
from kdbias.losses.gather import gather
from kdbias.losses.schedule import Schedule
from kdbias.models.channels_last import to_channels_last
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.modules.ssl import Comparison, Read, SelfSupervised
from kdbias.modules.ssl_heads import Prototypes


@builder("module")
class DINO(SelfSupervised):
    """Train ``online`` to predict the targets of its own average, which is ``student``: what is saved and probed.

    The average has BatchNorm statistics of its own, from its own activations (of the batch, during training). All its
    other layers are in eval mode. The method is for long runs: in short ones it hardly learns, and it may collapse.

    Args:
        spec, teacher, views, collapse, features: as for ``SelfSupervised``.
        temperature: of the online network's scores.
        teacher_temperature: of the average's, from the part ``teacher_temperature_until`` of training on.
        teacher_temperature_start: of the average's at the beginning; it changes linearly from there.
        teacher_temperature_until: part of training.
        hidden: width of the head's hidden layers.
        bottleneck: width before its last layer.
        prototypes: K >= 2, how many directions the last layer has.
        momentum: of the average at the beginning; it rises to 1 along a cosine.
        center_momentum: of the centre that targets are taken from.
        freeze_last: part of training in which the last layer stays as it is.

    Raises:
        ValueError: as ``SelfSupervised``.

    Source: Caron et al., ICCV 2021, arXiv:2104.14294, with two global views and no local ones; docs/methods.md lists
    all that differs.
    """

    center: Tensor

    def __init__(
        self,
        spec: dict[str, Any],
        teacher: Teacher | None = None,
        *,
        views: Mapping[str, Any],
        collapse: Mapping[str, Any],
        features: Read = "pooled",
        temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        teacher_temperature_start: float = 0.04,
        teacher_temperature_until: float = 0.3,
        hidden: int = 512,
        bottleneck: int = 128,
        prototypes: int = 1024,
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        freeze_last: float = 0.01,
    ) -> None:
        super().__init__(spec, teacher, views=views, collapse=collapse, features=features)
        start, until = teacher_temperature_start, teacher_temperature_until
        self.temperature, self.center_momentum, self.freeze_last = temperature, center_momentum, freeze_last
        self.sharpening = sharpening(start, teacher_temperature, until)
        self.pace = Schedule((momentum, 1.0), (0.0, 1.0), "cosine")
        self.teacher_temperature, self.momentum = self.sharpening(0.0), self.pace(0.0)
        self.online: Extractor = copy.deepcopy(self.student)
        self.online_head = Prototypes(self.width, hidden, bottleneck, prototypes)
        self.student_head = copy.deepcopy(self.online_head)
        for average in (self.student, self.student_head):
            average.requires_grad_(False)
        self.register_buffer("center", torch.zeros(prototypes))
        self._averaged_at = 0

    def start_from(self, state: Mapping[str, Tensor], key: str) -> None:
        """Give both networks the weights ``state``: the one that trains begins where its average does."""
        super().start_from(state, key)
        self.online.load_state_dict(self.student.state_dict())

    def setup(self, stage: str) -> None:
        """Prepare both networks in the same way."""
        super().setup(stage)
        if self.spec.get("channels_last") and self.student.info.convolves:
            to_channels_last(self.online)

    def networks(self) -> list[nn.Module]:
        """Give both networks."""
        return [*super().networks(), self.online]

    def on_train_start(self) -> None:
        """Record the step at which a resumed run starts."""
        super().on_train_start()
        self._averaged_at = self.global_step

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Put the average into its mode (BatchNorm on its own batches, all else as in evaluation) and set its pace."""
        for module in (*self.student.modules(), *self.student_head.modules()):
            module.training = isinstance(module, _BatchNorm)
        super().on_train_batch_start(batch, batch_idx)
        self.online.choose_path()
        self.teacher_temperature, self.momentum = self.sharpening(self.progress), self.pace(self.progress)

    def compare(self, one: Tensor, two: Tensor) -> Comparison:
        """Predict each view from the other."""
        views = torch.cat([one, two])
        with torch.no_grad():
            theirs = self.student_head(self.chosen(self.student(views))).float().view(2, len(one), -1)
            targets = dino_targets(theirs, self.center, self.teacher_temperature)
            self.center.copy_(moved_center(self.center, gather(theirs.flatten(0, 1)), self.center_momentum))
        features = self.chosen(self.online(views))
        loss = dino_loss(self.online_head(features).float().view_as(theirs), targets, self.temperature)
        each, marginal = entropy_ratios(targets)
        return Comparison(loss, {}, features, {"teacher_entropy": each, "marginal_entropy": marginal})

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Freeze the last layer at the beginning of training."""
        if self.progress < self.freeze_last:
            self.online_head.directions.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average, if the batch ended an optimiser step."""
        if self.global_step > self._averaged_at:
            self._averaged_at = self.global_step
            move(self.student, self.online, 1 - self.momentum)
            move(self.student_head, self.online_head, 1 - self.momentum)


def sharpening(start: float, end: float, until: float) -> Schedule:
    """Give the average's temperature over progress: linear from ``start`` to ``end``, which it reaches at ``until``."""
    return Schedule((start, end), (0.0, until), "linear") if until else Schedule((end,), (0.0,))


@torch.no_grad()
def move(average: nn.Module, online: nn.Module, share: float) -> None:
    """Move the parameters of ``average`` by ``share`` of the way to those of ``online``; keep its buffers."""
    mine, theirs = (cast(list[Tensor], list(network.parameters())) for network in (average, online))
    torch._foreach_lerp_(mine, theirs, share)
