"""Channels-last order of a network's weights, where oneDNN can be trusted with it."""

from __future__ import annotations

import torch
from torch import nn

BLOCK = 16  # input channels that a kernel of oneDNN takes at once: 8 with AVX2, 16 with AVX-512


def to_channels_last(network: nn.Module) -> None:
    """Put the weights of ``network`` into channels-last order, in place, unless it ``has_narrow_stride``.

    It is faster where a network convolves, and changes its output by rounding alone.
    """
    if not has_narrow_stride(network):
        network.to(memory_format=torch.channels_last)


def compile_in_place(network: nn.Module) -> None:
    """Compile ``network``, in place; one that ``has_narrow_stride`` without the compiler's own channels-last order."""
    if has_narrow_stride(network):
        network.compile(options={"layout_optimization": False})
    else:
        network.compile()


def has_narrow_stride(network: nn.Module) -> bool:
    """Whether one convolution of a network is 1×1 with a stride and has fewer input channels than a block.

    In channels-last order oneDNN 3.13 writes past a buffer in the gradient of its weights
    (https://github.com/uxlfoundation/oneDNN/issues/6035): the process dies, or the gradient is wrong.

    >>> [has_narrow_stride(nn.Conv2d(*given)) for given in [(4, 8, 1, 2), (4, 8, 3, 2), (4, 8, 1, 1), (16, 32, 1, 2)]]
    [True, False, False, False]
    """
    return any(_is_narrow(module) for module in network.modules())


def _is_narrow(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < BLOCK
    )
