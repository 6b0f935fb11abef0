"""A linear classifier on a frozen network: one pass over the images, then the optimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError, RunStopped
from kdbias.functional.logistic import linear_classifier
from kdbias.losses.gather import gather
from kdbias.models.features import Features
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill


@builder("module")
class LinearHead(Distill):
    """Train the classifier of a frozen network: keep the features of an epoch, and solve the classifier at its end.

    The network reads each image once, since ``epochs=1`` is enough: the classifier is the optimum of logistic
    regression on the features of the epoch, of all processes, whatever the optimiser's steps gave it before. With
    several epochs each solves it anew, on that epoch's images. ``n`` training images take ``4 n D`` bytes. Those that
    fill no last batch are left out, as in all training.

    Args:
        spec: as for ``Distill``; its terms are logged, and the solution does not depend on them.
        teacher: none; the labels alone teach.
        l2: decay of the weights, on standardised features, as in ``linear_classifier``.

    Raises:
        ArgumentError: the network is not frozen, its classifier is not one linear layer, there is a teacher, or ``l2``
            is negative.
    """

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None = None, *, l2: float = 1e-3) -> None:
        if teacher is not None:
            raise ArgumentError("teacher", "LinearHead learns from the labels alone: set teacher=none")
        super().__init__(spec)
        if not self.student.frozen:
            raise ArgumentError("model.frozen", "LinearHead trains the classifier alone: set it to true")
        if not isinstance(self.head, nn.Linear):
            kind = type(self.student.network).__name__
            raise ArgumentError("model", f"LinearHead needs a classifier of one linear layer, {kind} has another")
        self.l2 = l2
        self._features: list[Tensor] = []
        self._targets: list[Tensor] = []

    @property
    def head(self) -> Any:
        """The classifier, a part of the student."""
        network: Any = self.student.network
        return network.get_classifier()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss of the classifier as it is, and keep the features of the images.

        Raises:
            RunStopped: the run goes on in the middle of an epoch; the features from before are in no checkpoint.
        """
        if batch_idx and not self._features:
            raise RunStopped(
                f"method=linear_head cannot go on in the middle of an epoch, at batch {batch_idx}: the features of the "
                "images before are kept in memory alone. Remove the run's hpc_ckpt_*.ckpt and give its command again"
            )

        def keep(_: nn.Module, __: Any, features: Features) -> None:
            self._features.append(features.pooled.detach().float())
            self._targets.append(batch.target)

        handle = self.student.register_forward_hook(keep)
        try:
            return super().training_step(batch, batch_idx)
        finally:
            handle.remove()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Make a step; after the last of an epoch solve the classifier, before it is validated and saved."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.trainer.is_last_batch:
            self._solve()

    @torch.no_grad()
    def _solve(self) -> None:
        x, target = gather(torch.cat(self._features)), gather(torch.cat(self._targets))
        self._features, self._targets = [], []
        weight, bias = linear_classifier(x, target, self.head.out_features, self.l2)
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)
