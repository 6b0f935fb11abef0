"""A stress set of any data set of the package, by ``kdbias.stress.load``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.config.build import build
from kdbias.data.base import Source, Split, Undecoded
from kdbias.data.cues import CueSource
from kdbias.stress.build import Progress, stored
from kdbias.stress.conflict import Conflict
from kdbias.stress.cue_conflict import drawn
from kdbias.stress.describe import digest_of
from kdbias.stress.kept import Stressed
from kdbias.stress.own_images import OwnImages
from kdbias.stress.stress_set import StressSet

DIGESTED = 250  # images that are in memory at once where their digest is taken
POOL = 2_000  # images that a set may take amplitudes from, the first of the split


@runtime_checkable
class Fingerprinted(Protocol):
    """A source that tells its files from others without reading them."""

    def fingerprint(self, name: Split) -> str:
        """Give the digest."""


class SplitImages:
    """The images of a split, the first ``limit``; decoded a part at a time where the source can."""

    def __init__(self, source: Source, split: Split, limit: int | None = None) -> None:
        self._get: Callable[[int, int], Tensor]
        if isinstance(source, Undecoded):
            one, labels = source.images(split)
            self._get = lambda start, stop: torch.stack([one[place] for place in range(start, stop)])
        else:
            held, labels = source.split(split)
            self._get = lambda start, stop: held[start:stop]
        self.labels: NDArray[np.int64] = labels[:limit].numpy()
        if not len(self.labels):
            raise ValueError("images: there are none to change: images must be at least 1, the split not empty")
        self.digest = self._digest(source, split)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Give the images ``(n, H, W, C)`` and labels ``(n,)`` from ``start`` to before ``stop``."""
        images = self._get(start, min(stop, len(self))).permute(0, 2, 3, 1).contiguous().numpy()
        return images, self.labels[start:stop]

    def _digest(self, source: Source, split: Split) -> str:
        if isinstance(source, Fingerprinted):
            files = f"{source.fingerprint(split)} {source.info.channels} {source.info.size} {len(self)}"
            return hashlib.sha256(files.encode()).hexdigest()[:32]
        parts = (self.part(start, start + DIGESTED)[0] for start in range(0, len(self), DIGESTED))
        return digest_of((len(self), *self.part(0, 1)[0].shape[1:]), parts, self.labels)


def load(
    stress: StressSet | OwnImages | Mapping[str, Any],
    source: Source,
    *,
    root: str | Path,
    split: Split = "test",
    strength: float = 1.0,
    limit: int | None = None,
    seed: int = 0,
    name: str = "",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Stressed:
    """Give a stress set of the images of ``source``; it is built on the first call, and read from ``root`` later.

    ``stress`` is a set or its node, such as ``{"_target_": "kdbias.stress.scramble.Scramble", "grid": 4}``. ``limit``
    keeps the first images of the split. Labels are those of the clean images, by place.

    Raises:
        ValueError: the set refuses these images, a parameter or the strength; the message names the key.
    """
    made = build(stress, group="stress") if isinstance(stress, Mapping) else stress
    if isinstance(made, OwnImages):
        return made.images(source.info, strength)
    if isinstance(made, Conflict) and isinstance(source, CueSource):
        return drawn(made, source, split, strength, limit)
    if reason := made.refuses(source.info.size, source.info.channels):
        raise ValueError(reason)
    clean = SplitImages(source, split, limit)
    return stored(
        made,
        clean,
        clean.digest,
        Path(root),
        name=name or type(made).__name__.lower(),
        strength=strength,
        seed=seed,
        workers=workers,
        progress=progress,
        pool=lambda: clean.part(0, POOL),
    )
