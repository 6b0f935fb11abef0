"""A network in the state that a probe wants, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from kdbias.attention_path import attention_modules

Precision = Literal["fp32", "bf16"]


@contextmanager
def evaluation(network: nn.Module, precision: Precision = "fp32") -> Iterator[None]:
    """Evaluate ``network``: eval mode, no gradient, the given precision; afterwards it is as before.

    Each module has its own mode and attention path again. Autocast that is on outside is off inside, unless
    ``precision`` is ``"bf16"``.
    """
    modes = [(module, module.training) for module in network.modules()]
    paths = [(module, module.fused_attn) for module in attention_modules(network)]
    device = next(network.parameters()).device.type
    try:
        network.eval()
        with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, fused in paths:
            module.fused_attn = fused
