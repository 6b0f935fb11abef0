"""Colour jitter of float pictures, each with its own strength: torchvision's formulas, batched."""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)


def brighten(picture: Tensor, factor: Tensor) -> Tensor:
    """Multiply pictures ``(B, C, H, W)`` in [0, 1] by ``factor`` ``(B,)``, cut off at 1."""
    return (picture * _each(factor)).clamp_(0, 1)


def stretch(picture: Tensor, factor: Tensor) -> Tensor:
    """Change contrast: pictures ``(B, C, H, W)`` against their mean grey, by ``factor`` ``(B,)``; 1 leaves them."""
    mean = luminance(picture).mean((1, 2, 3), keepdim=True)
    return mean.lerp(picture, _each(factor)).clamp_(0, 1)


def saturate(picture: Tensor, factor: Tensor) -> Tensor:
    """Change saturation: pictures ``(B, 3, H, W)`` against their grey, by ``factor`` ``(B,)``; 1 leaves them."""
    return luminance(picture).lerp(picture, _each(factor)).clamp_(0, 1)


def turn_hue(picture: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of pictures ``(B, 3, H, W)`` by ``turn`` ``(B,)``, a part of the colour circle."""
    most, which = picture.max(1)
    chroma = most - picture.amin(1)
    red, green, blue = picture.unbind(1)
    # sixths of the circle from the strongest channel: between red's neighbours, green's or blue's
    sides = torch.stack([green - blue, blue - red, red - green], 1).gather(1, which[:, None])[:, 0]
    hue = sides / chroma.clamp_min(1e-8) + 2 * which + 6 * turn[:, None, None]
    place = (hue[:, None] + torch.tensor([5.0, 3.0, 1.0], device=picture.device).view(1, 3, 1, 1)) % 6
    return most[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


def luminance(picture: Tensor) -> Tensor:
    """Give the grey ``(B, 1, H, W)`` of pictures ``(B, 3, H, W)``; one channel is its own."""
    if picture.shape[1] == 1:
        return picture
    red, green, blue = picture[:, :1], picture[:, 1:2], picture[:, 2:]
    return red * GREY[0] + green * GREY[1] + blue * GREY[2]


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]
