"""The whole batch in every process, with gradient: for terms that compare images with one another."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather(x: Tensor) -> Tensor:
    """Give ``x`` of all processes, one after another in the order of their ranks; a single one gives ``x`` itself.

    ``x`` is ``(B, ...)`` with the same shape in every process, the result ``(processes * B, ...)``. Every process must
    call it, and backpropagate through it, the same number of times in the same order. The gradient of a process's own
    part is the **sum** over the losses of all processes; DDP's mean over processes then equals one process with the
    whole batch, for parameters before the gather and after it. Teacher features and targets have no gradient and are
    gathered in the same way.

    >>> gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    return cast(Tensor, _Gather.apply(x))


class _Gather(torch.autograd.Function):
    """All-gather whose backward is an all-reduce and a slice: gloo has no reduce-scatter for every type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        ctx.size = len(x)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        begin = dist.get_rank() * ctx.size
        return gradient[begin : begin + ctx.size]
