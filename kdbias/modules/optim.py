"""Optimisers: which parameters decay, how they are built, how gradients are clipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from kdbias.config.build import build, builder
from kdbias.modules.eager_optim import SGD, AdamW

UNDECAYED = ("token", "pos_embed", "rel_pos", "relative_position", "bias", "logit_scale", "temperature")
FUSED_DEVICES = frozenset({"cpu", "cuda"})


class Group(TypedDict):
    """One parameter group of an optimiser."""

    params: list[nn.Parameter]
    weight_decay: float


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay acts on a parameter.

    It does not on biases, norms and scales: anything of at most one axis, and what the last part of ``name`` gives
    away, as it does tokens (CLS, DIST, mask, register) and positions.
    """
    leaf = name.rpartition(".")[2]
    return parameter.ndim > 1 and not any(part in leaf for part in UNDECAYED)


def param_groups(module: nn.Module, weight_decay: float, without: nn.Module | None = None) -> list[Group]:
    """Give two groups, decayed and undecayed, that hold every trainable parameter of ``module`` once.

    The parameters of ``without``, a part of ``module`` that another optimiser trains, are left out.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    apart = {id(parameter) for parameter in without.parameters()} if without is not None else set()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and id(parameter) not in apart:
            (decayed if decays(name, parameter) else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _fused(groups: Iterable[Group], fused: bool | Literal["auto"]) -> bool:
    """Resolve ``auto``: one kernel for all parameters if their device has one."""
    if fused != "auto":
        return fused
    return all(p.device.type in FUSED_DEVICES and p.is_floating_point() for group in groups for p in group["params"])


@builder("optimizer")
def adamw(
    groups: Sequence[Group],
    *,
    lr: float,
    weight_decay: float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    fused: bool | Literal["auto"] = "auto",
) -> AdamW:
    """Build AdamW, fused where the device of the parameters has the kernel (CPU and CUDA).

    Source: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.
    """
    first, second = betas
    return AdamW(
        [dict(group) for group in groups],
        lr=lr,
        betas=(first, second),
        eps=eps,
        weight_decay=weight_decay,
        fused=_fused(groups, fused),
    )


@builder("optimizer")
def sgd(
    groups: Sequence[Group],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = True,
    fused: bool | Literal["auto"] = "auto",
) -> SGD:
    """Build SGD with (Nesterov) momentum, fused where the device of the parameters has the kernel."""
    return SGD(
        [dict(group) for group in groups],
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=_fused(groups, fused),
    )


def configure(
    optim: Mapping[str, Any], module: nn.Module, total_steps: int, without: nn.Module | None = None
) -> OptimizerLRSchedulerConfig:
    """Give what ``LightningModule.configure_optimizers`` returns.

    Args:
        optim: the config group: ``optimizer`` and ``schedule`` (nodes with ``_target_``; ``schedule: null`` keeps the
            learning rate constant).
        module: all of its trainable parameters are optimised: the student and what the loss terms own.
        total_steps: optimiser steps of the whole training, the unit of the schedule.
        without: a part of the module that another optimiser trains.

    Raises:
        ValueError: the module has nothing to train.
    """
    spec = optim["optimizer"]
    groups = param_groups(module, float(spec["weight_decay"]), without)
    if not any(group["params"] for group in groups):
        raise ValueError("optim.optimizer: no parameter requires a gradient")
    optimizer: Optimizer = build(spec, groups, group="optimizer")
    if optim.get("schedule") is None:
        return {"optimizer": optimizer}  # type: ignore[typeddict-item]
    return {"optimizer": optimizer, "lr_scheduler": build(optim["schedule"], optimizer, total_steps, group="schedule")}


def step_size(batch: int, batches: int | float, accumulate: int) -> int:
    """Give how many batches the optimiser step with batch ``batch`` of an epoch has; only its last may have fewer.

    The number of ``batches`` of an epoch may be infinite.
    """
    return int(min(accumulate, batches - batch // accumulate * accumulate))


def clip_gradients(optimizer: Optimizer, max_norm: float) -> Tensor:
    """Scale the gradients of all groups so that their joint L2 norm is at most ``max_norm``; give the norm before.

    It serves fp32 and bf16-mixed, which do not scale the loss. It is therefore also correct with fused optimisers,
    which Lightning's own clipping refuses under mixed precision.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
