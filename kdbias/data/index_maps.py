"""Operations that move pixels: shear, translation and rotation, nearest neighbour, black outside.

The source of each pixel is found once for each magnitude and size, by letting torchvision (v2 functional) move an image
of positions; so a moved image equals torchvision's bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from kdbias.data.operations import Action


def source_maps(actions: Iterable[tuple[Action, float]], height: int, width: int) -> Tensor:
    """Give the source position of each pixel for each action at its magnitude: int32 ``(n, H * W)``, -1 for black."""
    positions = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)
    maps = [_apply(positions, action, magnitude).flatten() - 1 for action, magnitude in actions]
    return (torch.stack(maps) if maps else torch.zeros(0, height * width)).to(torch.int32)


def move(image: Tensor, source: Tensor) -> Tensor:
    """Move the pixels of uint8 images ``(n, C, H, W)``, each by its own map, int32 ``(n, H * W)``."""
    values = image.flatten(2)
    index = source.to(torch.int64).clamp_(min=0)[:, None].expand_as(values)
    inside = (source >= 0).to(torch.uint8).mul_(255)
    return values.gather(2, index).bitwise_and_(inside[:, None]).view_as(image)


def _apply(image: Tensor, action: Action, magnitude: float) -> Tensor:
    if action.operation == "Rotate":
        turned: Tensor = reference.rotate(image, angle=magnitude)
        return turned
    shift, shear, centre = [0, 0], [0.0, 0.0], None
    axis = "XY".index(action.operation[-1])
    if action.operation in ("ShearX", "ShearY"):
        shear[axis], centre = math.degrees(math.atan(magnitude)), [0.0, 0.0]
    else:
        shift[axis] = int(magnitude)
    moved: Tensor = reference.affine(image, angle=0.0, translate=shift, scale=1.0, shear=shear, center=centre)
    return moved
