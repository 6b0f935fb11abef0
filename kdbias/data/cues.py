"""The embedded data set: images of known shape and known texture, drawn by the program.

Each of the ten classes is a shape and a texture. A training or test image shows its class's shape filled with its
class's texture, at a random position, size, angle and colour on a cluttered, noisy ground. Both cues are known. So the
variants can remove a cue or show conflicting cues, and the reliabilities can teach a network to prefer one cue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.cues_render import Look, draw, render
from kdbias.data.cues_shapes import BLOBS, SHAPES
from kdbias.data.cues_textures import TEXTURES

Ints = NDArray[np.int64]
Split = Literal["train", "val", "test"]
Variant = Literal["test", "shape", "texture", "conflict"]

CLASSES = len(SHAPES)
CHUNK = 250
TRAINING, TEST = 0, 1
STATISTICS = 2_000
PRESETS: dict[str, Look] = {
    "balanced": Look(
        shape_angle=30,
        texture_angle=40,
        radius=(7.5, 11),
        shift=5,
        chroma=0.4,
        noise=(0.03, 0.09),
        texture_contrast=(0.0, 0.18),
        fill=(0.15, 0.30),
        ground=(0.04, 0.12),
        shape=1.0,
        texture=1.0,
    ),
    "demo": Look(
        shape_angle=20,
        texture_angle=25,
        radius=(8, 11),
        shift=4,
        chroma=0.25,
        noise=(0.02, 0.06),
        texture_contrast=(0.02, 0.20),
        fill=(0.15, 0.30),
        ground=(0.02, 0.09),
        shape=0.8,
        texture=0.8,
    ),
}
"""``balanced``: shape and texture weigh about the same for a small CNN. ``demo``: easier, with contradictory cues."""


class CueImages(NamedTuple):
    """Images with the class of each cue.

    ``image`` is ``(n, 3, size, size)`` uint8; ``shape`` and ``texture`` are ``(n,)`` int64 classes, -1 where the cue is
    removed.
    """

    image: Tensor
    shape: Tensor
    texture: Tensor

    @property
    def target(self) -> Tensor:
        """The class of a right answer: that of the shape, or of the texture if the shape is removed."""
        return torch.where(self.shape < 0, self.texture, self.shape)


class _Cues(NamedTuple):
    """The draws that decide the cues of a chunk, each ``(CHUNK,)``; the same for every reliability and variant."""

    label: Ints
    other_shape: Ints
    other_texture: Ints
    shape_coin: NDArray[np.float64]
    texture_coin: NDArray[np.float64]
    blob: Ints
    conflict: Ints


def _draw_cues(rng: np.random.Generator) -> _Cues:
    return _Cues(
        label=rng.permutation(CHUNK) % CLASSES,
        other_shape=rng.integers(0, CLASSES, CHUNK),
        other_texture=rng.integers(0, CLASSES, CHUNK),
        shape_coin=rng.random(CHUNK),
        texture_coin=rng.random(CHUNK),
        blob=CLASSES + rng.integers(0, BLOBS, CHUNK),
        conflict=rng.integers(1, CLASSES, CHUNK),
    )


@dataclass(frozen=True)
class CueSource:
    """The embedded data set; ``cues`` builds it and documents the fields.

    Image i of a split does not depend on the number of images. Image i of every variant is image i of the test split
    with another cue: position, size, angle, colour, ground and noise are the same.
    """

    train: int
    val: int
    test: int
    seed: int
    look: Look
    shape_reliability: float
    texture_reliability: float
    size: int

    @cached_property
    def info(self) -> DataInfo:
        """Names, sizes, and channel statistics, those of the first 2,000 training images for any ``train``."""
        mean, std = _statistics(replace(self, train=0, val=0, test=0))
        names = tuple(f"{shape}, {texture}" for shape, texture in zip(SHAPES, TEXTURES, strict=True))
        return DataInfo(3, self.size, CLASSES, names, self.train - self.val, mean, std)

    def prepare(self) -> None:
        """Nothing to download."""

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Give the images ``(n, 3, size, size)`` uint8 and labels ``(n,)`` int64 of a split.

        Validation is the first ``val`` training images, so it is as reliable as training; the test images always
        have both cues right.
        """
        if name == "test":
            images = self.variant("test", self.test)
            return images.image, images.target
        images, label = self._training
        part = slice(self.val) if name == "val" else slice(self.val, None)
        return images.image[part], label[part]

    @cached_property
    def _training(self) -> tuple[CueImages, Tensor]:
        return self._make(TRAINING, self.train, self._unreliable)

    def _unreliable(self, cues: _Cues) -> tuple[Ints, Ints]:
        return (
            np.where(cues.shape_coin < self.shape_reliability, cues.label, cues.other_shape),
            np.where(cues.texture_coin < self.texture_reliability, cues.label, cues.other_texture),
        )

    def training_cues(self) -> CueImages:
        """Give the training images, validation first, with the classes of the cues that they show."""
        return self._training[0]

    def variant(self, name: Variant, n: int, start: int = 0) -> CueImages:
        """Give ``n`` test images with a cue changed, from number ``start`` on.

        ``test``: both cues of one class; ``shape``: the texture replaced by a plain fill; ``texture``: the shape
        replaced by a neutral blob; ``conflict``: the texture of another class.
        """
        choose: dict[str, Callable[[_Cues], tuple[Ints, Ints]]] = {
            "test": lambda cues: (cues.label, cues.label),
            "shape": lambda cues: (cues.label, np.full_like(cues.label, -1)),
            "texture": lambda cues: (cues.blob, cues.label),
            "conflict": lambda cues: (cues.label, (cues.label + cues.conflict) % CLASSES),
        }
        return self._make(TEST, n, choose[name], start)[0]

    def _make(
        self, stream: int, n: int, choose: Callable[[_Cues], tuple[Ints, Ints]], start: int = 0
    ) -> tuple[CueImages, Tensor]:
        """Make ``n`` images of a stream; chunks have their own generators, so neither number changes an image."""
        image = np.empty((n, 3, self.size, self.size), dtype=np.uint8)
        label, shape, texture = np.empty((3, n), dtype=np.int64)
        for chunk in range(start // CHUNK, -(-(start + n) // CHUNK)):
            rng = np.random.default_rng([self.seed, stream, chunk])
            cues = _draw_cues(rng)
            scene = draw(rng, CHUNK, self.look, self.size)
            first, end = max(start, chunk * CHUNK), min(start + n, (chunk + 1) * CHUNK)
            part, kept = slice(first - start, end - start), slice(first - chunk * CHUNK, end - chunk * CHUNK)
            outline, fill = choose(cues)
            image[part] = render(scene, outline, fill)[kept]
            label[part], texture[part] = cues.label[kept], fill[kept]
            shape[part] = np.where(outline < CLASSES, outline, -1)[kept]
        images = CueImages(torch.from_numpy(image), torch.from_numpy(shape), torch.from_numpy(texture))
        return images, torch.from_numpy(label)


@lru_cache(maxsize=16)
def _statistics(source: CueSource) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the training images; made once, as all runs of a process ask."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    image = source._make(TRAINING, STATISTICS, source._unreliable)[0].image
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in image.unbind(1)]).double()
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ levels
    std = (share @ levels.square() - mean.square()).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


@builder("data")
def cues(
    *,
    train: int = 20_000,
    val: int = 2_000,
    test: int = 5_000,
    seed: int = 0,
    preset: Literal["balanced", "demo"] = "balanced",
    shape_reliability: float | None = None,
    texture_reliability: float | None = None,
    size: int = 32,
) -> CueSource:
    """Make the embedded cue-conflict data set: ten classes, each a shape and a texture, nothing to download.

    ``train`` is the number of images before ``val`` of them are split off. With a ``shape_reliability`` r in [0, 1],
    the shape of a training or validation image is that of a random class with probability 1 − r, while the label stays
    the same; ``texture_reliability`` does so for the texture. None takes the preset's (1 for ``balanced``, .8 for
    ``demo``). ``size`` is in pixels: objects scale with it, the clutter of the ground does not. The classes themselves
    (outlines, textures, ground tiles) are the same for every ``seed``.

    Raises:
        ValueError: an argument is out of range; the message names its key.
    """
    look = PRESETS[preset]
    shape = look.shape if shape_reliability is None else shape_reliability
    texture = look.texture if texture_reliability is None else texture_reliability
    return CueSource(train, val, test, seed, look, shape, texture, size)
