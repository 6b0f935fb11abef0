"""Colour jitter of float images, each with its own strength: torchvision's formulas, batched."""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)


def brighten(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply images ``(B, C, H, W)`` in [0, 1] by ``factor`` ``(B,)``, clamped to 1."""
    return (image * _each(factor)).clamp_(0, 1)


def stretch(image: Tensor, factor: Tensor) -> Tensor:
    """Change contrast: images ``(B, C, H, W)`` against their mean grey, by ``factor`` ``(B,)``; 1 leaves them."""
    mean = luminance(image).mean((1, 2, 3), keepdim=True)
    return mean.lerp(image, _each(factor)).clamp_(0, 1)


def saturate(image: Tensor, factor: Tensor) -> Tensor:
    """Change saturation: images ``(B, 3, H, W)`` against their grey, by ``factor`` ``(B,)``; 1 leaves them."""
    return luminance(image).lerp(image, _each(factor)).clamp_(0, 1)


def turn_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Rotate the hue of images ``(B, 3, H, W)`` by ``turn`` ``(B,)``, a fraction of the colour circle."""
    most, which = image.max(1)
    chroma = most - image.amin(1)
    red, green, blue = image.unbind(1)
    # sixths of the circle from the strongest channel: between red's neighbours, green's or blue's
    sides = torch.stack([green - blue, blue - red, red - green], 1).gather(1, which[:, None])[:, 0]
    hue = sides / chroma.clamp_min(1e-8) + 2 * which + 6 * turn[:, None, None]
    offset = torch.arange(5.0, 0.0, -2.0, device=image.device)  # 5, 3, 1: made there, for a copy would wait
    place = (hue[:, None] + offset.view(1, 3, 1, 1)) % 6
    return most[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


def luminance(image: Tensor) -> Tensor:
    """Give the grey ``(B, 1, H, W)`` of images ``(B, 3, H, W)``; one channel is its own."""
    if image.shape[1] == 1:
        return image
    red, green, blue = image[:, :1], image[:, 1:2], image[:, 2:]
    return red * GREY[0] + green * GREY[1] + blue * GREY[2]


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]
