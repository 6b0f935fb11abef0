"""A training step that makes the optimiser steps itself: the student's, and those of an adversary beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ReduceLROnPlateau

from kdbias.batch import Batch
from kdbias.modules.base import StudentModule
from kdbias.modules.optim import configure

PLATEAU = ("reduce_on_plateau", "monitor", "strict")  # what Lightning does not read where a module steps by itself


class ManualSteps(StudentModule):
    """Train by two optimisers at once: ``training_step`` ends in ``descend``, and everything else is as always.

    A subclass sets ``adversary``, the part of the module that the second optimiser trains, or None. Progress, logging,
    averages and checkpoints count the student's steps alone. Lightning's own manual optimisation counts those of every
    optimiser, and leaves schedules, clipping and, under DDP, the buffers to the module; ``descend`` and the hooks here
    do that. Each step has one batch (``trainer.accumulate`` is 1), and the loss is not scaled (fp32 or bf16-mixed).

    One backward pass serves both optimisers, as DDP reduces all gradients in one. So ``descend`` gets the sum of both
    losses, of which each must reach its own parameters alone: pass ``detached(adversary)`` what the student produced,
    and the adversary what is detached.
    """

    adversary: nn.Module | None
    adversary_lr: float = 1.0  # the adversary's learning rate, as a part of the student's

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.automatic_optimization = False

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Two optimisers of one kind with schedules of their own: the student's first, then the adversary's."""
        steps, optim = self.planned_steps(), self.spec["optim"]
        found = [configure(optim, self, steps, without=self.adversary)]
        if self.adversary is not None:
            found.append(configure(_scaled(optim, self.adversary_lr), self.adversary, steps))
        return cast(OptimizerLRScheduler, [_stepped_by_hand(one) for one in found])

    def descend(self, loss: Tensor, oppose: bool = True) -> None:
        """Take one step down ``loss``, a scalar that every trainable parameter has a part in, if only of 0.

        With ``oppose`` the adversary steps too; without, its weights and its optimiser stay as they are. Call it last:
        what is logged of a step has the learning rate and the number from before.
        """
        found = self.optimizers()
        student, *others = cast(list[LightningOptimizer], found if isinstance(found, list) else [found])
        # Through Lightning's wrapper a step counts as a step of the run, so the adversary's goes around it.
        opponents = [one.optimizer for one in others]
        for optimizer in (student.optimizer, *opponents):
            optimizer.zero_grad()
        with torch.autocast(self.device.type, enabled=False):  # under autocast, fp32 maths would go back in bf16
            self.manual_backward(loss)
        for optimizer in (student.optimizer, *opponents):
            self.configure_gradient_clipping(optimizer)
        for optimizer in opponents:
            if not oppose:
                optimizer.zero_grad()  # a step without gradients changes nothing, and schedules want one before theirs
            optimizer.step()
        student.step()
        for schedule in self.schedules():
            if not isinstance(schedule, ReduceLROnPlateau):
                schedule.step()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Have DDP give all processes the buffers of the first before the next pass, as it does in every other run."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        network = self.trainer.strategy.model
        if isinstance(network, DistributedDataParallel):
            network.require_forward_param_sync = True


def detached(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Give the output of ``network``, through which a gradient reaches the inputs and none its parameters."""
    fixed = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return cast(Tensor, torch.func.functional_call(network, fixed, inputs))


def _scaled(optim: Mapping[str, Any], part: float) -> dict[str, Any]:
    optimizer = {**optim["optimizer"], "lr": float(optim["optimizer"]["lr"]) * part}
    return {**optim, "optimizer": optimizer}


def _stepped_by_hand(found: Any) -> dict[str, Any]:
    """Leave out of a schedule's config what Lightning would warn that it ignores."""
    if "lr_scheduler" not in found:
        return dict(found)
    schedule = {key: value for key, value in found["lr_scheduler"].items() if key not in PLATEAU}
    return {**found, "lr_scheduler": schedule}
