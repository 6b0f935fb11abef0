"""Temporarily put a network into the state that a probe needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn

from kdbias.late import eagerly
from kdbias.models.attention_path import attention_modules

Precision = Literal["fp32", "bf16"]


@contextmanager
def evaluation(network: nn.Module, precision: Precision = "fp32") -> Iterator[None]:
    """Evaluate ``network`` in eval mode, without gradients, in the given precision, eagerly; restore it afterwards.

    Each module gets its own mode and attention path back. Autocast is off inside, even if it is on outside, unless
    ``precision`` is ``"bf16"``. ``"fp32"`` means fp32, not TF32. Compiled modules run eagerly, because graphs of other
    shapes and modes would count towards the recompilation limit of training.
    """
    modes = [(module, module.training) for module in network.modules()]
    paths = [(module, module.fused_attn) for module in attention_modules(network)]
    device = next(network.parameters()).device.type
    try:
        network.eval()
        with (
            torch.no_grad(),
            torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"),
            full_fp32() if precision == "fp32" else nullcontext(),
            eagerly(),
        ):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, fused in paths:
            module.fused_attn = fused


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute matrix products and convolutions on a GPU in fp32, not in TF32, inside the block."""
    matrices, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.set_float32_matmul_precision(matrices)
        torch.backends.cudnn.allow_tf32 = convolutions
