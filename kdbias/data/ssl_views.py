"""Two views of every image, for learning without labels: random crops and colours.

Chen et al., ICML 2020, arXiv:2002.05709, appendix A, without blur (images are small), with inversion and rotation.
Everything is drawn on the host for the global batch from (seed, epoch, step) and then sliced by process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdbias.config.build import builder
from kdbias.data.colour import brighten, luminance, saturate, stretch, turn_hue
from kdbias.data.geometry import put
from kdbias.data.streams import Stream, stream

ATTEMPTS = 10


@dataclass(frozen=True)
class ViewDraws:
    """The parameters of one view of ``B`` images.

    ``theta`` ``(B, 2, 3)`` maps positions of the view to positions of the image, both in [-1, 1]; ``brightness``,
    ``contrast`` and ``saturation`` ``(B,)`` are factors, ``hue`` ``(B,)`` a fraction of the colour circle; ``grey``
    and ``invert`` ``(B,)`` say which images become grey or negative.
    """

    theta: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    saturation: NDArray[np.float32]
    hue: NDArray[np.float32]
    grey: NDArray[np.bool_]
    invert: NDArray[np.bool_]

    def take(self, rows: slice) -> ViewDraws:
        """Give the parameters of some images of the batch."""
        return ViewDraws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@builder("views")
@dataclass(frozen=True)
class TwoViews:
    """How two views of an image are made: crop, flip and rotation, then colour jitter, grey, negative.

    Args:
        crop: smallest and largest fraction of the image's area that a view shows.
        aspect: smallest and largest ratio of width to height of the crop, log-uniform.
        flip: mirror left to right with probability 0.5.
        rotate: degrees, drawn in ±; the image is reflected at its edges.
        jitter: probability of the four colour changes below.
        brightness, contrast, saturation: factors are drawn in 1 ± this.
        hue: a fraction of the colour circle, drawn in ±; .5 is any hue.
        grey: probability of a grey image.
        invert: probability of the negative.
        size: side of the views in pixels; None takes the image's.

    Raises:
        ValueError: a value is out of range; the message names the config key.
    """

    crop: Sequence[float] = (0.3, 1.0)
    aspect: Sequence[float] = (0.75, 4 / 3)
    flip: bool = True
    rotate: float = 0.0
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    invert: float = 0.0
    size: int | None = None

    def draw(self, count: int, seed: int, epoch: int, step: int) -> tuple[ViewDraws, ViewDraws]:
        """Draw the parameters of both views of a global batch of ``count`` images."""
        rng = stream(Stream.VIEWS, seed, epoch, step)
        return self._one(rng, count), self._one(rng, count)

    def view(self, image: Tensor, draws: ViewDraws) -> Tensor:
        """Make one view, ``(B, C, size, size)`` float32 in [0, 1], of images ``(B, C, H, W)`` in [0, 1]."""
        device = image.device
        view = self._place(image.float(), put(draws.theta, device))
        view = stretch(brighten(view, put(draws.brightness, device)), put(draws.contrast, device))
        if view.shape[1] == 3:
            view = saturate(view, put(draws.saturation, device))
            view = turn_hue(view, put(draws.hue, device)) if self.hue and self.jitter else view
            view = torch.where(put(draws.grey, device)[:, None, None, None], luminance(view), view)
        return torch.where(put(draws.invert, device)[:, None, None, None], 1 - view, view)

    def _one(self, rng: np.random.Generator, count: int) -> ViewDraws:
        theta = _placement(rng, count, self.crop, self.aspect)
        mirrored = (rng.random(count) < 0.5) & self.flip
        theta[:, 0] *= np.where(mirrored, -1.0, 1.0)[:, None] ** np.array([1, 1, 0])
        theta = _turned(theta, np.deg2rad(rng.uniform(-self.rotate, self.rotate, count)))
        jittered = rng.random(count) < self.jitter
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        changes = [(jittered * rng.uniform(-s, s, count)).astype(np.float32) for s in strengths]
        return ViewDraws(
            theta=theta.astype(np.float32),
            brightness=1 + changes[0],
            contrast=1 + changes[1],
            saturation=1 + changes[2],
            hue=changes[3],
            grey=rng.random(count) < self.grey,
            invert=rng.random(count) < self.invert,
        )

    def _place(self, image: Tensor, theta: Tensor) -> Tensor:
        size = self.size or image.shape[-1]
        place = (2 * torch.arange(size, device=image.device) + 1) / size - 1
        # element by element, because the rounding of a matrix product may depend on the batch size
        across, down, shift = (part[..., None, None] for part in theta.unbind(2))
        grid = (across * place + down * place[:, None] + shift).movedim(1, -1)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _placement(
    rng: np.random.Generator, count: int, crop: Sequence[float], aspect: Sequence[float]
) -> NDArray[np.float64]:
    """Draw ``(count, 2, 3)`` crops: the first of ten draws of area and aspect that fits, else the whole image."""
    area = rng.uniform(crop[0], crop[1], (count, ATTEMPTS))
    ratio = np.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1]), (count, ATTEMPTS)))
    sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=-1)
    fits = np.all(sides <= 1, axis=-1)
    side = np.where(fits.any(1)[:, None], sides[np.arange(count), fits.argmax(1)], 1.0)
    theta = np.zeros((count, 2, 3))
    theta[:, 0, 0], theta[:, 1, 1] = side.T
    theta[:, :, 2] = rng.uniform(-1, 1, (count, 2)) * (1 - side)
    return theta


def _turned(theta: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate views about their centre by ``angle`` ``(B,)`` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    return np.concatenate([theta[:, :, :2] @ turn, theta[:, :, 2:]], axis=2)
