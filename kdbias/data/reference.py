"""The augmentation of ``kdbias.data.augment`` one image at a time, by torchvision's own operations (v2 functional).

For the same draws it gives the same uint8 images, except single pixels of ``rotate`` and ``translate`` whose source is
half-way between two (less than 1 in 1,000). The worker processes use it, and the batched code is tested against it.
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


def image_views(augment: Augment, image: Tensor, draws: Draws, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Make the student's and the teacher's view of one uint8 image ``(C, H, W)``, before float and mixing.

    ``draws`` holds the parameters of this image alone; ``fill`` is as in ``Augment.views``. If the two views
    are equal, they are one tensor.
    """
    policy = policy_of(augment.policy, augment.operations, augment.magnitude)
    placed = _placed(augment, image, draws)
    actions, geometric = draws.actions[0].tolist(), policy.geometric(draws.actions)[0].tolist()
    changed = student = _perform(placed, actions, policy)
    for top, left, bottom, right in (*draws.cutout.tolist(), *draws.erasing.tolist()):
        if bottom > top and right > left:
            student = F.erase(student, top, left, bottom - top, right - left, fill[:, None, None])
    if augment.view == "photometric":
        return student, changed if geometric == actions else _perform(placed, geometric, policy)
    return student, image if augment.view == "clean" else student


def _placed(augment: Augment, image: Tensor, draws: Draws) -> Tensor:
    """Rotate and shift, crop the padded image, mirror."""
    if augment.rotate or augment.translate:
        angle, right, down = draws.motion[0].tolist()
        image = F.affine(image, angle, [int(right), int(down)], scale=1, shear=[0, 0], interpolation=NEAREST)
    if augment.crop:
        top, left = draws.corner[0].tolist()
        image = F.crop(F.pad(image, [augment.crop]), top, left, *image.shape[-2:])
    return F.horizontal_flip(image) if draws.flip[0] else image


def _perform(image: Tensor, codes: list[int], policy: Policy) -> Tensor:
    for code in codes:
        if code:
            action = policy.actions[code]
            image = operate(image, action.operation, policy.scale.magnitude(action, *image.shape[-2:]))
    return image


def operate(image: Tensor, operation: Operation, magnitude: float) -> Tensor:
    """Apply an operation of AutoAugment to an image ``(C, H, W)`` uint8, at a magnitude of torchvision's scale."""
    result: Tensor
    match operation:
        case "Identity":
            result = image
        case "ShearX" | "ShearY":
            angle = math.degrees(math.atan(magnitude))
            shear = [angle, 0.0] if operation == "ShearX" else [0.0, angle]
            result = F.affine(image, 0.0, [0, 0], scale=1.0, shear=shear, interpolation=NEAREST, center=[0, 0])
        case "TranslateX" | "TranslateY":
            shift = [int(magnitude), 0] if operation == "TranslateX" else [0, int(magnitude)]
            result = F.affine(image, 0.0, shift, scale=1.0, shear=[0.0, 0.0], interpolation=NEAREST)
        case "Rotate":
            result = F.rotate(image, magnitude, interpolation=NEAREST)
        case "Posterize":
            result = F.posterize(image, int(magnitude))
        case "Solarize":
            result = F.solarize(image, 255 * magnitude)
        case "AutoContrast" | "Equalize" | "Invert":
            result = {"AutoContrast": F.autocontrast, "Equalize": F.equalize, "Invert": F.invert}[operation](image)
        case "Brightness":
            result = F.adjust_brightness(image, 1.0 + magnitude)
        case "Color":
            result = F.adjust_saturation(image, 1.0 + magnitude)
        case "Contrast":
            result = F.adjust_contrast(image, 1.0 + magnitude)
        case "Sharpness":
            result = F.adjust_sharpness(image, 1.0 + magnitude)
    return result
