"""The precision in which losses and similarities are computed: fp32 at least, never autocast."""

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
