"""Two images in one: MixUp and CutMix.

MixUp: Zhang et al., ICLR 2018, arXiv:1710.09412. CutMix: Yun et al., ICCV 2019, arXiv:1905.04899.

There is one draw for the whole batch (timm's ``mode="batch"``). With the given probability the batch is mixed, with one
share and one rectangle. If MixUp and CutMix are both on, either is chosen with equal probability. The partner of an
image is the one before it in the global batch (the last one for the first), as in torchvision. So a process that holds
a slice of the batch needs one more image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed: ``share`` is the weight of an image's own label in the target.

    ``box`` (top, left, bottom, right) is what CutMix takes from the partner; None means MixUp.
    """

    share: float
    box: tuple[int, int, int, int] | None


def draw_mix(rng: np.random.Generator, size: int, mixup: float, cutmix: float, probability: float) -> Mix | None:
    """Draw how a batch of ``size``-pixel images is mixed, or None for not at all.

    ``mixup`` and ``cutmix`` are the alphas of the symmetric Beta distributions; 0 switches one off. CutMix's share is
    corrected for the part of the rectangle outside the image.
    """
    chosen, switch = rng.random(2)
    if chosen >= probability or (mixup == 0 and cutmix == 0):
        return None
    if cutmix == 0 or (mixup > 0 and switch < 0.5):
        return Mix(share=float(rng.beta(mixup, mixup)), box=None)
    half = int(size * math.sqrt(1 - rng.beta(cutmix, cutmix))) / 2
    y, x = rng.integers(0, size, 2)
    edges = [min(max(int(edge), 0), size) for edge in (y - half, x - half, y + half, x + half)]
    top, left, bottom, right = edges
    return Mix(share=1 - (bottom - top) * (right - left) / size**2, box=(top, left, bottom, right))


def mix_images(image: Tensor, mix: Mix) -> Tensor:
    """Mix float images ``(B + 1, C, H, W)``, each with the one before it, to ``(B, C, H, W)``."""
    own, partner = image[1:], image[:-1]
    if mix.box is None:
        return own * mix.share + partner * (1 - mix.share)
    top, left, bottom, right = mix.box
    mixed = own.clone()
    mixed[..., top:bottom, left:right] = partner[..., top:bottom, left:right]
    return mixed


def mix_targets(target: Tensor, mix: Mix) -> Tensor:
    """Mix ``(B + 1, classes)`` soft targets to ``(B, classes)``, as ``mix_images`` mixes the images."""
    return target[1:] * mix.share + target[:-1] * (1 - mix.share)
