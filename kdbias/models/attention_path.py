"""Which of timm's two attention paths a network takes: fused kernels, or explicit maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers.config import use_fused_attn
from torch import Tensor, nn


def attention_modules(network: nn.Module) -> list[Any]:
    """Give the modules of ``network`` that have a fused and an explicit path, in the order of the network."""
    return [m for m in network.modules() if hasattr(m, "fused_attn")]


def choose(network: nn.Module, *, training: bool, device: torch.device) -> None:
    """Set the path of every attention module of ``network``: explicit for training on a CPU, fused otherwise.

    At a few dozen tokens the backward pass of the CPU's fused kernel dominates a training step; without gradients it
    costs the same as explicit maps, and on a GPU the fused kernel is the faster one.
    """
    fused = bool(use_fused_attn()) and not (training and device.type == "cpu")
    for module in attention_modules(network):
        module.fused_attn = fused


@contextmanager
def unfused(network: nn.Module) -> Iterator[None]:
    """Let every attention module of ``network`` take its explicit path inside the ``with`` block.

    The fused kernels give neither the maps (the input of ``attn_drop``) nor second derivatives. The outputs are the
    same up to rounding. Do not change the network's mode or device inside the block.
    """
    before = [(m, m.fused_attn) for m in attention_modules(network)]
    try:
        for module, _ in before:
            module.fused_attn = False
        yield
    finally:
        for module, fused in before:
            module.fused_attn = fused


@contextmanager
def recorded_qkv(attention: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Collect queries, keys and values of the given timm attention modules: ``(3, B, H, tokens, D/H)`` for each.

    Queries and keys are taken after their norms, if the network has any, and before scaling. The hooks are removed at
    the end of the block.
    """
    found: list[Tensor] = []

    def record(module: Any, out: Tensor) -> None:
        batch, count, _width = out.shape
        q, k, v = out.reshape(batch, count, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        found.append(torch.stack((module.q_norm(q), module.k_norm(k), v)))

    handles = [m.qkv.register_forward_hook(lambda _, __, out, m=m: record(m, out)) for m in attention]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
