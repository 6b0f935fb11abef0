"""Training augmentation as batched tensor code on uint8 images, each image with its own draw.

The stages, in order: geometry (rotation and translation, padded crop, flip), the operations of a policy (AutoAugment,
RandAugment or TrivialAugment), erasing (Cutout, random erasing), the stress set of a view, conversion to float in
[0, 1], mixing (MixUp, CutMix). A stress set comes so late because it has to suppress its cue in what the network sees.

A policy moves pixels (shear, translation, rotation) and changes their values (colour, contrast and so on) in any order.
If the teacher's view shares only the student's geometry, it gets the operations that move pixels, in their order, and
no others; so the two views agree position by position.

Parameters are drawn on the host for the *global* batch from (seed, epoch, step) and then sliced, so any number of
processes sees the same images. Each stage has its own stream, so switching a stage off does not change other draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.config.build import builder
from kdbias.config.stress_names import WHO
from kdbias.data.affine import draw_affine, rotate_shift
from kdbias.data.autoaugment import perform
from kdbias.data.erase import draw_cutout, draw_erasing, erase
from kdbias.data.geometry import crop_flip
from kdbias.data.mix import Mix, draw_mix, mix_images
from kdbias.data.policies import Policy, PolicyName, policy_of
from kdbias.data.streams import Stream, image_keys, stream
from kdbias.data.stress_views import Given, ViewChange, view_change

View = Literal["same", "photometric", "clean"]


@dataclass(frozen=True)
class Draws:
    """The parameters of ``B`` images.

    ``motion`` ``(B, 3)`` as in ``rotate_shift``, ``corner`` ``(B, 2)`` and ``flip`` ``(B,)`` as in ``crop_flip``;
    ``actions`` ``(B, slots)`` numbers of the policy's actions as in ``perform``; ``cutout`` and ``erasing`` ``(B, 4)``
    boxes as in ``erase``; ``mix`` is one for all. ``keys`` ``(B,)`` are what stress sets draw from, None without.
    """

    motion: NDArray[np.float64]
    corner: NDArray[np.int64]
    flip: NDArray[np.bool_]
    actions: NDArray[np.int64]
    cutout: NDArray[np.int64]
    erasing: NDArray[np.int64]
    mix: Mix | None
    keys: NDArray[np.uint64] | None = None

    def take(self, rows: NDArray[np.int64]) -> Draws:
        """Give the parameters of some images of the batch."""
        return Draws(
            motion=self.motion[rows],
            corner=self.corner[rows],
            flip=self.flip[rows],
            actions=self.actions[rows],
            cutout=self.cutout[rows],
            erasing=self.erasing[rows],
            mix=self.mix,
            keys=None if self.keys is None else self.keys[rows],
        )


@builder("augment")
@dataclass(frozen=True)
class Augment:
    """The augmentation of a training image, and the teacher's view of it.

    Args:
        crop: black pixels padded on each side before a crop of the image's own size; 0 is off.
        flip: mirror left to right with probability 0.5.
        rotate: degrees of rotation, drawn in ±; 0 is off.
        translate: shift as a fraction of the side, drawn in ± on both axes; 0 is off.
        policy: ``none``; AutoAugment's for ``cifar10``, ``imagenet`` or ``svhn``; ``randaugment``; ``trivialaugment``.
        operations: number of RandAugment's operations per image.
        magnitude: strength of RandAugment's operations, 0 to 30.
        cutout: side in pixels of the square painted over; 0 is off.
        erasing: probability of random erasing. Cutout and erasing paint the data's mean, rounded to a uint8 value,
            which a network's normalisation turns into about 0.
        mixup: alpha of MixUp; 0 is off.
        cutmix: alpha of CutMix; 0 is off.
        mix_probability: probability that a batch is mixed; if MixUp and CutMix are both on, either with equal
            probability. With mixing, targets are soft in every batch, so that shapes are stable.
        view: ``same``: the teacher sees the student's image; ``photometric``: the same geometry, including that of the
            policy, and the same mixing, without the policy's other operations, Cutout and erasing; ``clean``: the
            image without augmentation or mixing (tokens no longer align).
        teacher_stress: a stress set that changes the teacher's view: its name, ``{name: NAME}`` with settings, or a
            node; None for none. It changes each image before it is mixed, by draws of (seed, epoch, index).
        teacher_strength: of that set, in [0, 1]; at 0 the view is that without it, bit for bit.
        student_stress: the same for the student's view. Equal sets of both make equal draws.
        student_strength: of that set.

    Raises:
        ValueError: a value is out of range, or a stress set cannot be a view; the message names the config key.
    """

    crop: int = 4
    flip: bool = True
    rotate: float = 0.0
    translate: float = 0.0
    policy: PolicyName = "none"
    operations: int = 2
    magnitude: int = 9
    cutout: int = 0
    erasing: float = 0.25
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_probability: float = 0.5
    view: View = "same"
    teacher_stress: Given = None
    teacher_strength: float = 1.0
    student_stress: Given = None
    student_strength: float = 1.0

    def __post_init__(self) -> None:
        _ = self.stress  # it refuses what cannot be a view

    @property
    def mixes(self) -> bool:
        """Whether batches may be mixed, so that targets are soft."""
        return self.mix_probability > 0 and (self.mixup > 0 or self.cutmix > 0)

    @cached_property
    def stress(self) -> dict[str, ViewChange]:
        """The changes of the views, by ``teacher`` and ``student``; without those at strength 0."""
        given = ((who, getattr(self, f"{who}_stress"), getattr(self, f"{who}_strength")) for who in WHO)
        changes = {who: view_change(who, stress, strength) for who, stress, strength in given}
        return {who: change for who, change in changes.items() if change is not None}

    def draw(
        self, count: int, size: int, seed: int, epoch: int, step: int, index: NDArray[np.int64] | None = None
    ) -> Draws:
        """Draw the parameters of a global batch of ``count`` images of ``size`` pixels.

        ``index`` ``(count,)`` are the images' positions in their split.

        Raises:
            ValueError: a stress set draws by ``index``, and it is not given.
        """
        if self.stress and index is None:
            raise ValueError("index: a stress set draws by the positions of the images: give them")
        place = stream(Stream.CROP, seed, epoch, step)
        return Draws(
            motion=draw_affine(stream(Stream.AFFINE, seed, epoch, step), count, size, self.rotate, self.translate),
            flip=(place.random(count) < 0.5) & self.flip,
            corner=place.integers(0, 2 * self.crop + 1, (count, 2)),
            actions=self._policy.draw(stream(Stream.POLICY, seed, epoch, step), count),
            cutout=draw_cutout(stream(Stream.CUTOUT, seed, epoch, step), count, size, self.cutout),
            erasing=draw_erasing(stream(Stream.ERASING, seed, epoch, step), count, size, self.erasing),
            mix=draw_mix(stream(Stream.MIXING, seed, epoch, step), size, self.mixup, self.cutmix, self.mix_probability),
            keys=None if index is None else image_keys(Stream.STRESS, seed, epoch, index),
        )

    def views(self, image: Tensor, draws: Draws, fill: Tensor) -> tuple[Tensor, Tensor]:
        """Make the student's and the teacher's view of uint8 images ``(B, C, H, W)``: float32 in [0, 1].

        If ``draws.mix`` is set, the first image is only the partner of the second, and ``B - 1`` images come out.
        ``fill`` ``(C,)`` uint8 is the colour of Cutout and erasing. If the two views are equal, they are one tensor.
        """
        placed = self._place(image, draws)
        changed = perform(placed, draws.actions, self._policy)
        painted = erase(erase(changed, draws.cutout, fill), draws.erasing, fill)
        if self.view == "clean":
            base = image if draws.mix is None else image[1:]
        elif self.view == "same":
            base = painted
        else:
            geometric = self._policy.geometric(draws.actions)
            base = changed if np.array_equal(geometric, draws.actions) else perform(placed, geometric, self._policy)
        student, teacher = self.stressed(painted, base, draws.keys)
        shown = _mixed(to_float(student), draws.mix)
        if teacher is student:
            return shown, shown
        return shown, _mixed(to_float(teacher), None if self.view == "clean" else draws.mix)

    def stressed(self, student: Tensor, teacher: Tensor, keys: NDArray[np.uint64] | None) -> tuple[Tensor, Tensor]:
        """Change the two views by their stress sets: uint8 ``(B, C, H, W)``, before mixing; ``keys`` ``(B,)``.

        The teacher's view may lack the first image. If the two come out equal, they are one tensor.
        """
        if not self.stress or keys is None:
            return student, teacher
        mine, theirs = self.stress.get("student"), self.stress.get("teacher")
        changed = student if mine is None else mine(student, keys)
        if teacher is student and mine == theirs:
            return changed, changed
        return changed, teacher if theirs is None else theirs(teacher, keys[-len(teacher) :])

    @property
    def _policy(self) -> Policy:
        return policy_of(self.policy, self.operations, self.magnitude)

    def _place(self, image: Tensor, draws: Draws) -> Tensor:
        if self.rotate or self.translate:
            image = rotate_shift(image, draws.motion)
        if self.crop or self.flip:
            image = crop_flip(image, draws.corner, draws.flip, self.crop)
        return image


def to_float(image: Tensor) -> Tensor:
    """Convert uint8 images ``(..., C, H, W)`` to float32 in [0, 1], as torchvision v2 does, bit for bit."""
    return image.to(torch.float32).mul_(1 / 255)


def _mixed(image: Tensor, mix: Mix | None) -> Tensor:
    return image if mix is None else mix_images(image, mix)
