"""Operations that change each value by a table of 256: invert, posterise, solarise, brightness, autocontrast, equalise.

The tables are torchvision's (v2 functional, on uint8 tensors), bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from kdbias.data.blend import to_bytes
from kdbias.data.operations import Action

VALUES = 256


def fixed_tables(actions: Iterable[tuple[Action, float]]) -> Tensor:
    """Make the tables ``(n, 256)`` of actions at their magnitudes, each by running torchvision on all values once."""
    ramp = torch.arange(VALUES, dtype=torch.uint8).view(1, 16, 16)
    tables = [_apply(ramp, action, magnitude).flatten() for action, magnitude in actions]
    return torch.stack(tables) if tables else ramp.new_zeros(0, VALUES)


def autocontrast_tables(values: Tensor) -> Tensor:
    """Make ``(n, C, 256)`` tables that stretch each channel of ``values``, uint8 ``(n, C, N)``, to 0..255."""
    low, high = (extreme(dim=2, keepdim=True).to(torch.float32) for extreme in (values.amin, values.amax))
    flat = low == high
    scale = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return to_bytes((_levels(values) - torch.where(flat, 0.0, low)) / scale)


def equalize_tables(values: Tensor, index: Tensor) -> Tensor:
    """Make ``(n, C, 256)`` tables that flatten the histogram of each channel.

    ``values`` is uint8 ``(n, C, N)``, ``index`` the same as int64. The last filled bin does not count, as in Pillow.
    """
    one = torch.ones(1, dtype=torch.int32, device=values.device)
    histogram = torch.zeros(*values.shape[:2], VALUES, dtype=torch.int32, device=values.device)
    histogram.scatter_add_(2, index, one.expand_as(index))
    top = values.amax(dim=2, keepdim=True).to(torch.int64)
    step = (values.shape[2] - histogram.gather(2, top)).div_(VALUES - 1, rounding_mode="floor")
    below = histogram.cumsum(2, dtype=torch.int32).sub_(histogram).add_(step // 2)
    # a quotient of whole numbers below 2**24 rounds down to the same value in float32, much faster than in integers
    tables = to_bytes(below.to(torch.float32).div_(step.clamp(min=1)))
    return torch.where(step == 0, torch.arange(VALUES, dtype=torch.uint8, device=values.device), tables)


def _levels(like: Tensor) -> Tensor:
    return torch.arange(VALUES, dtype=torch.float32, device=like.device)


def _apply(image: Tensor, action: Action, magnitude: float) -> Tensor:
    changed: Tensor
    match action.operation:
        case "Invert":
            changed = reference.invert(image)
        case "Posterize":
            changed = reference.posterize(image, bits=int(magnitude))
        case "Solarize":
            changed = reference.solarize(image, threshold=255.0 * magnitude)
        case "Brightness":
            changed = reference.adjust_brightness(image, brightness_factor=1.0 + magnitude)
        case operation:
            raise ValueError(f"{operation} has no table that is independent of the image")
    return changed
