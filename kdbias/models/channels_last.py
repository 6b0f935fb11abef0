"""Channels-last order of a network's weights, where it is safe."""

from __future__ import annotations

import torch
from torch import nn

BLOCK = 16  # input channels that a kernel of oneDNN takes at once: 8 with AVX2, 16 with AVX-512


def to_channels_last(network: nn.Module) -> None:
    """Put the weights of ``network`` into channels-last order, in place, unless ``is_narrow``.

    It is faster where a network convolves, and changes its output by rounding alone.
    """
    if not any(is_narrow(module) for module in network.modules()):
        network.to(memory_format=torch.channels_last)


def is_narrow(module: nn.Module) -> bool:
    """Whether oneDNN 3.13 cannot be trusted with the gradient of this convolution in channels-last order.

    Its kernel for the weights of a 1×1 convolution with a stride writes past its buffer if the input has fewer channels
    than a block (https://github.com/uxlfoundation/oneDNN/issues/6035): the process dies, or the gradient is wrong.

    >>> [is_narrow(nn.Conv2d(*given)) for given in [(4, 8, 1, 2), (4, 8, 3, 2), (4, 8, 1, 1), (16, 32, 1, 2)]]
    [True, False, False, False]
    """
    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < BLOCK
    )
