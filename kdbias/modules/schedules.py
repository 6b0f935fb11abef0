"""Learning-rate schedules, counted in optimiser steps.

The maths is pure: ``*_factor(step, total, ...)`` gives what the base learning rate is multiplied by. The builders that
``conf/optim/schedule`` names take ``(optimizer, total_steps)`` and give Lightning's scheduler config. Steps count from
0 to ``total - 1``; afterwards the last value stays.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from kdbias.config.build import builder

NEVER = sys.maxsize  # epochs between two steps that Lightning makes


def warmup_cosine_factor(step: int, total: int, warmup: float, final: float) -> float:
    """Rise linearly to 1 over ``warmup * total`` steps, then fall by half a cosine to ``final`` at the last step.

    Source: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983; warm-up: Goyal et al., 2017, arXiv:1706.02677.
    """
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    done = min((step - rise) / max(total - 1 - rise, 1), 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))


def warmup_step_factor(step: int, total: int, warmup: float, milestones: Sequence[float], gamma: float) -> float:
    """Rise linearly to 1, then multiply by ``gamma`` at each milestone (a fraction of training)."""
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    return float(gamma ** sum(step >= round(milestone * total) for milestone in milestones))


def cyclic_factor(step: int, total: int, cycles: int, low: float) -> float:
    """Rise from ``low`` to 1 and fall back, in a straight line, ``cycles`` times.

    Source: Smith, WACV 2017, arXiv:1506.01186 (policy "triangular").
    """
    phase = min(step / max(total - 1, 1), 1.0) * cycles
    height = 1.0 - abs(2.0 * (phase - math.floor(phase)) - 1.0)
    return low + (1.0 - low) * height


@builder("schedule")
def warmup_cosine(
    optimizer: Optimizer, total_steps: int, *, warmup: float, final_lr: float = 0.0
) -> LRSchedulerConfigType:
    """Build warm-up (a fraction of training) and cosine down to ``final_lr`` (a learning rate)."""
    final = final_lr / optimizer.defaults["lr"]
    return _by_step(optimizer, lambda step: warmup_cosine_factor(step, total_steps, warmup, final))


@builder("schedule")
def warmup_step(
    optimizer: Optimizer, total_steps: int, *, warmup: float, milestones: Sequence[float], gamma: float = 0.1
) -> LRSchedulerConfigType:
    """Build warm-up and steps by ``gamma`` at ``milestones``, all fractions of training."""
    places = tuple(milestones)
    return _by_step(optimizer, lambda step: warmup_step_factor(step, total_steps, warmup, places, gamma))


@builder("schedule")
def cyclic(optimizer: Optimizer, total_steps: int, *, cycles: int, low_lr: float) -> LRSchedulerConfigType:
    """Build ``cycles`` triangles between ``low_lr`` and the optimiser's learning rate."""
    low = low_lr / optimizer.defaults["lr"]
    return _by_step(optimizer, lambda step: cyclic_factor(step, total_steps, cycles, low))


@builder("schedule")
def plateau(
    optimizer: Optimizer,
    total_steps: int,
    *,
    monitor: str,
    mode: Literal["min", "max"],
    factor: float = 0.1,
    patience: int = 10,
    min_lr: float = 0.0,
) -> LRSchedulerConfigType:
    """Build a schedule that multiplies by ``factor`` if ``monitor`` has not improved for ``patience`` validations.

    ``total_steps`` is not used: ``StudentModule`` shows the schedule its metric at the end of each epoch that had a
    validation. Lightning would do so after the checkpoint of the epoch, and in epochs without a validation too.
    """
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience, min_lr=min_lr)
    return {**_config(scheduler, interval="epoch", monitor=monitor), "frequency": NEVER}


def step_plateaus(plateaus: Iterable[ReduceLROnPlateau], monitor: str, metrics: Mapping[str, float]) -> None:
    """Show schedules the metric ``monitor``.

    Raises:
        ValueError: ``metrics`` does not have it.
    """
    if monitor not in metrics:
        text = f"{monitor} is not logged: choose one of {', '.join(sorted(metrics))}"
        raise ValueError(f"optim.schedule.monitor: {text}")
    for schedule in plateaus:
        schedule.step(metrics[monitor])


def _by_step(optimizer: Optimizer, factor: Callable[[int], float]) -> LRSchedulerConfigType:
    return _config(LambdaLR(optimizer, factor), interval="step", monitor=None)


def _config(scheduler: LambdaLR | ReduceLROnPlateau, *, interval: str, monitor: str | None) -> LRSchedulerConfigType:
    return {
        "scheduler": scheduler,
        "name": "lr",
        "interval": interval,
        "frequency": 1,
        "reduce_on_plateau": isinstance(scheduler, ReduceLROnPlateau),
        "monitor": monitor,
        "strict": True,
    }
