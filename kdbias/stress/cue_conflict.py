"""The conflict images of ``data=cues``: shape and texture of two classes, drawn by the program."""

from __future__ import annotations

import torch

from kdbias.data.base import Split
from kdbias.data.cues import CueSource
from kdbias.stress.conflict import Conflict
from kdbias.stress.describe import describe
from kdbias.stress.kept import Stressed
from kdbias.stress.stress_set import blend, check_strength


def drawn(stress: Conflict, source: CueSource, split: Split, strength: float, limit: int | None) -> Stressed:
    """Give the conflict images of the test split: image i is test image i with the texture of another class.

    They are drawn by the source's own seed, quickly, so they are not kept on disk.

    Raises:
        ValueError: the split is another, or the strength is out of range.
    """
    check_strength(strength)
    if split != "test":
        raise ValueError(f"split={split}: the conflict images of data=cues are of the test split: choose split=test")
    count = source.test if limit is None else min(limit, source.test)
    if count < 1:
        raise ValueError("images: there are none to change: images must be at least 1, the split not empty")
    clean, found = source.variant("test", count), source.variant("conflict", count)
    image = torch.from_numpy(blend(clean.image.numpy(), found.image.numpy(), strength))
    texture = found.texture if strength else torch.full_like(found.texture, -1)
    manifest = {"set": describe(stress), "by": "construction", "strength": float(strength), "images": count}
    return Stressed(image, found.shape, {"texture": texture}, manifest)
