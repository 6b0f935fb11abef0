"""Four rotations of every image, each with a crop of its own: the views of self-supervision knowledge distillation.

Everything is drawn on the host for the global batch from (seed, epoch, step) and then sliced by process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdbias.config.build import builder
from kdbias.data.geometry import put
from kdbias.data.streams import Stream, stream

ROTATIONS = 4  # 0, 90, 180 and 270 degrees, counter-clockwise


@dataclass(frozen=True)
class RotationDraws:
    """The parameters of ``B`` images: ``flip`` ``(B,)``, and ``corner`` ``(B, 4, 2)``, (top, left) of each crop."""

    flip: NDArray[np.bool_]
    corner: NDArray[np.int64]

    def take(self, rows: slice) -> RotationDraws:
        """Give the parameters of some images of the batch."""
        return RotationDraws(self.flip[rows], self.corner[rows])


@builder("views")
@dataclass(frozen=True)
class Rotations:
    """How the four views of an image are made: one flip for all, then the rotation, then a padded crop for each.

    Args:
        crop: black pixels padded on each side before a crop of the image's own size; 0 is off.
        flip: mirror left to right with probability 0.5.

    Raises:
        ArgumentError: a value is out of range.

    Source: Xu et al., ECCV 2020, arXiv:2006.07114; the order is that of the official ``cifar.py``.
    """

    crop: int = 4
    flip: bool = True

    def draw(self, count: int, seed: int, epoch: int, step: int) -> RotationDraws:
        """Draw the parameters of a global batch of ``count`` images."""
        rng = stream(Stream.VIEWS, seed, epoch, step)
        flip = (rng.random(count) < 0.5) & self.flip
        return RotationDraws(flip, rng.integers(0, 2 * self.crop + 1, (count, ROTATIONS, 2)))

    def view(self, image: Tensor, draws: RotationDraws) -> Tensor:
        """Make the views ``(4B, C, S, S)`` of images ``(B, C, S, S)``: all four of an image, then those of the next.

        Raises:
            ValueError: the images are not square, so that a rotation would change their shape.
        """
        height, width = image.shape[-2:]
        if height != width:
            raise ValueError(f"rotations need square images, got {height}x{width}")
        image = torch.where(put(draws.flip, image.device)[:, None, None, None], image.flip(3), image)
        turned = torch.stack([image.rot90(turns, (2, 3)) for turns in range(ROTATIONS)], dim=1)
        return self._cropped(turned.flatten(0, 1), put(draws.corner.reshape(-1, 2), image.device))

    def _cropped(self, image: Tensor, corner: Tensor) -> Tensor:
        if not self.crop:
            return image
        side = image.shape[-1]
        padded = F.pad(image, (self.crop,) * 4)
        windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # (4B, C, top, left, S, S), a view
        return windows[torch.arange(len(image), device=image.device), :, corner[:, 0], corner[:, 1]]
