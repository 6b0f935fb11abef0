"""A stress set as what a network sees in training: batches on any device, drawn by (seed, epoch, index)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from kdbias.config.build import build, builder, target
from kdbias.stress.batched import changed
from kdbias.stress.draws import Keys
from kdbias.stress.stress_set import StressSet

NO_LABEL = -1  # a set that changes images one by one, and no others, reads no label
TIMED = 4  # images whose change is timed


@dataclass(frozen=True)
class StressView:
    """``stress`` at ``strength``, above 0, on uint8 images ``(B, C, H, W)``."""

    stress: StressSet
    strength: float

    def __call__(self, image: Tensor, keys: Keys) -> Tensor:
        """Give the images changed; ``keys`` ``(B,)`` decide each image's draws, whatever batch it comes in."""
        found = changed(self.stress, image, self.strength, keys)
        return self._one_by_one(image, keys) if found is None else found

    @property
    def aligned(self) -> bool:
        """Whether what an image shows stays where it is."""
        return self.stress.aligned

    def refuses(self, size: int, channels: int) -> str:
        """Say why images of this size and number of channels are not for the set; empty if they are."""
        return self.stress.refuses(size, channels)

    def slow(self, size: int, channels: int) -> float | None:
        """Give the measured seconds an image of a set that changes them one by one; None for one that takes batches."""
        rng = np.random.default_rng(0)
        image = torch.from_numpy(rng.integers(0, 256, (TIMED, channels, size, size), np.uint8))
        if changed(self.stress, image[:1], self.strength, np.zeros(1, np.uint64)) is not None:
            return None
        self._one_by_one(image[:1], np.zeros(1, np.uint64))  # what is made once, such as tables, is no cost
        began = time.perf_counter()
        self._one_by_one(image, np.arange(TIMED, dtype=np.uint64))
        return (time.perf_counter() - began) / TIMED

    def _one_by_one(self, image: Tensor, keys: Keys) -> Tensor:
        kind = crc32(type(self.stress).__name__.encode())
        arrays = image.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        made = [
            self.stress(array, NO_LABEL, self.strength, np.random.default_rng([kind, key]))
            for array, key in zip(arrays, keys.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous().to(image.device)


@builder("stress")
def view(*, stress: Mapping[str, Any], strength: float) -> StressView:
    """Build the view of a set's node.

    Raises:
        ValueError: the set cannot be a view, or its settings or the strength are out of range; the message says why.
    """
    kind = target(stress, "stress")
    if not (isinstance(kind, type) and issubclass(kind, StressSet)):
        raise ValueError("it has images of its own and changes none: choose a set that changes each image by itself")
    takes = list(signature(kind).parameters)
    for key in stress.keys() - {"_target_", *takes}:
        raise ValueError(f"there is no setting {key}: it has {', '.join(takes) or 'none'}")
    made: StressSet = build(stress, group="stress")
    if made.no_view:
        raise ValueError(made.no_view)
    made.require_strength(strength)
    return StressView(made, strength)
