"""The precision of losses and similarities: fp32 at least, fp64 where the device has it, never autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Give the tensors in one type: fp64 if any of them is fp64, else fp32.

    Shapes are any, ``(...)``, and stay as they are.
    """
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    return tuple(t.to(dtype) for t in tensors)


def without_autocast(like: Tensor) -> torch.autocast:
    """Give a context without autocast on the device of ``like``, as bf16 products change the third digit of CKA.

    Of ``like``, ``(...)``, nothing but the device is read.
    """
    return torch.autocast(like.device.type, enabled=False)


def has_float64(device: torch.device) -> bool:
    """Whether tensors on ``device`` may be fp64: Apple's GPUs have none."""
    return device.type != "mps"


def widest(values: Tensor) -> Tensor:
    """Give ``values``, ``(...)``, in fp64, or in fp32 on a device without it."""
    return values.double() if has_float64(values.device) else values.float()
