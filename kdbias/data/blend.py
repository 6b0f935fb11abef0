"""Operations that blend an image with another made from it: its mean grey, its grey, or its neighbourhood.

A blend at factor f is ``f * image + (1 - f) * other``, clamped to 0..255 and rounded down: f = 0 gives the other image,
f = 1 the image. Each magnitude is added by a separate call, with its factor as a number. So the rounding equals that of
torchvision (v2 functional, on uint8 tensors) bit for bit, also on a device that multiplies and adds in one step.
Contrast is exact up to 256 x 256 pixels; above, the rounding of the mean depends on the order of its sum.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Runs = list[tuple[float, int]]
"""Pairs (factor, number of images); images of equal factor are adjacent."""


def add_scaled_(to: Tensor, other: Tensor, runs: Runs) -> None:
    """Add ``(1 - factor) * other`` to ``to`` in place; both are float32 ``(n, ...)``, n images."""
    counts = [count for _, count in runs]
    for part, added, (factor, _) in zip(torch.split(to, counts), torch.split(other, counts), runs, strict=True):
        part.add_(added, alpha=1.0 - factor)


def to_bytes(values: Tensor) -> Tensor:
    """Clamp float values ``(...)`` to 0..255, in place, and round them down to uint8."""
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)  # via int16: several times faster on a CPU


def luminance(image: Tensor) -> Tensor:
    """Give the whole-numbered grey ``(n, 1, H, W)``, float32, of uint8 images of three channels or one."""
    if image.shape[1] == 1:
        return image.to(torch.float32)
    red, green, blue = image.unbind(dim=1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]


def stretch(image: Tensor, factor: Tensor, runs: Runs) -> Tensor:
    """Change the contrast of uint8 images ``(n, C, H, W)``: blend each with the mean of its grey.

    ``factor`` is float32 ``(n,)``; ``runs`` are the images of equal factor.
    """
    stretched = image * factor[:, None, None, None]
    add_scaled_(stretched, luminance(image).mean(dim=(-3, -2, -1), keepdim=True), runs)
    return to_bytes(stretched)


def saturate(image: Tensor, factor: Tensor, runs: Runs) -> Tensor:
    """Change the colour of uint8 images ``(n, C, H, W)``: blend each with its grey; one channel stays as it is.

    ``factor`` and ``runs`` as in ``stretch``.
    """
    if image.shape[1] == 1:
        return image
    blended = image * factor[:, None, None, None]
    add_scaled_(blended, luminance(image), runs)
    return to_bytes(blended)


def sharpen(image: Tensor, runs: Runs) -> Tensor:
    """Blend uint8 images ``(n, C, H, W)`` with their weighted mean over 3 x 3 pixels; edges stay as they are.

    The centre weighs 5, the other eight 1. ``runs`` as in ``stretch``.
    """
    height, width = image.shape[-2:]
    if min(height, width) < 3:
        return image
    # sums over one long row, so that they run at full speed; those that reach across an edge are left out afterwards
    flat, reach = image.to(torch.int16).flatten(), width + 1
    across = flat[:-2] + flat[1:-1] + flat[2:]
    weighted = across[: -2 * width] + across[width:-width] + across[2 * width :]
    centre = flat[reach:-reach]
    # thirteenths are never halfway between whole numbers, so that no rounding error matters
    blurred = weighted.add_(centre, alpha=4).to(torch.float32).mul_(1 / 13).round_()
    change = F.pad(blurred.sub_(centre), [reach, reach]).view(image.shape)
    change *= F.pad(torch.ones(height - 2, width - 2, device=image.device), [1, 1, 1, 1])
    sharpened = image.to(torch.float32)
    add_scaled_(sharpened, change, runs)
    return to_bytes(sharpened)
