"""The augmentation of ``kdbias.data.augment`` one picture at a time, by torchvision's own operations (v2 functional).

For the same draws it gives the same uint8 pictures, but for single pixels of ``rotate`` and ``translate`` whose source
lies half-way between two (less than 1 in 1,000): the worker processes use it, and the batched code is tested against
it.
"""

from __future__ import annotations

import math

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.data.augment import Augment, Draws
from kdbias.data.operations import Operation
from kdbias.data.policies import Policy, policy_of

NEAREST = InterpolationMode.NEAREST


def picture_views(augment: Augment, picture: Tensor, draws: Draws, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Make the student's and the teacher's view of one uint8 picture ``(C, H, W)``, before float and mixing.

    ``draws`` holds the parameters of this picture alone; ``fill`` is as in ``Augment.views``. The two views are one
    tensor where nothing sets them apart.
    """
    policy = policy_of(augment.policy, augment.operations, augment.magnitude)
    placed = _placed(augment, picture, draws)
    actions, geometric = draws.actions[0].tolist(), policy.geometric(draws.actions)[0].tolist()
    changed = student = _perform(placed, actions, policy)
    for top, left, bottom, right in (*draws.cutout.tolist(), *draws.erasing.tolist()):
        if bottom > top and right > left:
            student = F.erase(student, top, left, bottom - top, right - left, fill[:, None, None])
    if augment.view == "photometric":
        return student, changed if geometric == actions else _perform(placed, geometric, policy)
    return student, picture if augment.view == "clean" else student


def _placed(augment: Augment, picture: Tensor, draws: Draws) -> Tensor:
    """Rotate and shift, cut out of the padded picture, mirror."""
    if augment.rotate or augment.translate:
        angle, right, down = draws.motion[0].tolist()
        picture = F.affine(picture, angle, [int(right), int(down)], scale=1, shear=[0, 0], interpolation=NEAREST)
    if augment.crop:
        top, left = draws.corner[0].tolist()
        picture = F.crop(F.pad(picture, [augment.crop]), top, left, *picture.shape[-2:])
    return F.horizontal_flip(picture) if draws.flip[0] else picture


def _perform(picture: Tensor, codes: list[int], policy: Policy) -> Tensor:
    for code in codes:
        if code:
            action = policy.actions[code]
            picture = operate(picture, action.operation, policy.scale.magnitude(action, *picture.shape[-2:]))
    return picture


def operate(picture: Tensor, operation: Operation, magnitude: float) -> Tensor:
    """Do to a uint8 picture what torchvision's AutoAugment does at a magnitude of its own scale."""
    result: Tensor
    match operation:
        case "Identity":
            result = picture
        case "ShearX" | "ShearY":
            angle = math.degrees(math.atan(magnitude))
            shear = [angle, 0.0] if operation == "ShearX" else [0.0, angle]
            result = F.affine(picture, 0.0, [0, 0], scale=1.0, shear=shear, interpolation=NEAREST, center=[0, 0])
        case "TranslateX" | "TranslateY":
            shift = [int(magnitude), 0] if operation == "TranslateX" else [0, int(magnitude)]
            result = F.affine(picture, 0.0, shift, scale=1.0, shear=[0.0, 0.0], interpolation=NEAREST)
        case "Rotate":
            result = F.rotate(picture, magnitude, interpolation=NEAREST)
        case "Posterize":
            result = F.posterize(picture, int(magnitude))
        case "Solarize":
            result = F.solarize(picture, 255 * magnitude)
        case "AutoContrast" | "Equalize" | "Invert":
            result = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}[operation](picture)
        case "Brightness":
            result = F.adjust_brightness(picture, 1.0 + magnitude)
        case "Color":
            result = F.adjust_saturation(picture, 1.0 + magnitude)
        case "Contrast":
            result = F.adjust_contrast(picture, 1.0 + magnitude)
        case "Sharpness":
            result = F.adjust_sharpness(picture, 1.0 + magnitude)
    return result
