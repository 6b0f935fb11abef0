"""The error for layers whose CKA is 0/0, with the positions of the layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class NoStructure(ValueError):
    """Layers with the same output for all samples, so that CKA with them is undefined.

    ``side`` is 0 for the first network and 1 for the second; ``layers`` are the positions of all such layers.
    """

    def __init__(self, side: int, layers: Sequence[int], why: str) -> None:
        names = ", ".join(name_of(side, layer) for layer in layers)
        super().__init__(f"CKA with {names} is undefined: {why}")
        self.side, self.layers, self.why = side, tuple(layers), why


def name_of(side: int, layer: int) -> str:
    """Give a name for a layer by its position: ``x[2]``, or ``y[2]`` for the second network."""
    return f"{'xy'[side]}[{layer}]"


def check_layer_structure(own: Tensor, size: Tensor, power: int, side: int) -> None:
    """Raise ``NoStructure`` unless ``own``, HSIC of each layer with itself ``(L,)``, exceeds the rounding of ``size``.

    ``power`` is 1 if ``own`` is a difference of sums as large as ``size``, 2 if it is a sum of squares.
    """
    floor = (10 * torch.finfo(own.dtype).eps) ** power
    alike = torch.nonzero(~(own > floor * size)).flatten().tolist()
    if alike:
        each = ", ".join(f"HSIC({name_of(side, i)}, {name_of(side, i)})" for i in alike)
        raise NoStructure(
            side,
            alike,
            f"{each} is 0 up to rounding (or NaN), as features are constant, equal for all samples but one, equally "
            "far from each other or not finite, or there are too few samples",
        )
