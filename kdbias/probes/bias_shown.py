"""Which images ``probe=bias`` shows: stress sets of the split, cues by construction, images that people made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.data.augment import to_float
from kdbias.data.cues import CHUNK, CueImages, CueSource, Variant
from kdbias.probes.bias_answers import stored_version
from kdbias.probes.bias_rows import Shown
from kdbias.probes.bias_sets import Chosen
from kdbias.probes.telling import tell
from kdbias.stress.conflict import Conflict
from kdbias.stress.corruption import Corruption
from kdbias.stress.kept import Stressed
from kdbias.stress.own_images import OwnImages
from kdbias.stress.shape import Shape
from kdbias.stress.split import StressedSplit

CONFLICT = "conflict"
CONSTRUCTED: dict[str, tuple[Variant, str]] = {
    "without_shape": ("texture", "texture"),
    "without_texture": ("shape", "shape"),
    CONFLICT: ("conflict", ""),
}
"""Sets that ``data=cues`` draws: the variant behind each, and the cue that alone is left."""


def unchanged(batch: Batch) -> Tensor:
    """Give the clean images."""
    return batch.image


def of_split(sets: Sequence[Chosen], split: StressedSplit, seed: int) -> tuple[list[Shown], dict[str, str]]:
    """Give the versions that are made of the images of ``split``, and by name why a set cannot be made of them.

    Sets with images of their own are not among them, nor the conflict images of ``data=cues``.
    """
    found: list[Shown] = []
    left_out: dict[str, str] = {}
    for place, one in enumerate(sets):
        tell(f"stress set {one.name}", place, len(sets))
        if isinstance(one.stress, OwnImages) or constructed(one, split):
            continue
        try:
            made = [(strength, split.load(one.stress, strength, seed, one.name)) for strength in one.strengths]
        except ValueError as error:
            left_out[one.name] = str(error)
            continue
        found += [_shown(one, strength, stressed, isinstance(split.source, CueSource)) for strength, stressed in made]
    return found, left_out


def constructed(one: Chosen, split: StressedSplit) -> bool:
    """Whether ``data=cues`` draws this set itself."""
    return isinstance(one.stress, Conflict) and isinstance(split.source, CueSource)


def _shown(one: Chosen, strength: float, stressed: Stressed, drawn: bool) -> Shown:
    """``drawn`` says that the program draws images of one cue, which are better than contours."""
    kind = one.stress.kind if isinstance(one.stress, Corruption) else ""
    outline = isinstance(one.stress, Shape) and _outline(one.stress) and strength == 1
    alone = "shape" if outline and not drawn else ""
    version = stored_version(stressed, one.name)
    return Shown(one.name, strength, version, one.suppresses, stressed.notes, alone, kind)


def _outline(stress: Shape) -> bool:
    """Whether contours or a silhouette are left, and no pixel of the object."""
    return stress.engine == "edges" or stress.show == "silhouette"


class DrawnCues:
    """Test images of ``data=cues`` in batches, with a cue removed or changed; drawn as they are asked for, not kept.

    ``shown`` are the versions; the textures among their notes are known once all batches were asked for.
    """

    def __init__(self, source: CueSource, count: int) -> None:
        self._source, self._count = source, count
        self._texture = torch.full((count,), -1)
        self._last: dict[Variant, tuple[int, CueImages]] = {}  # small batches take parts of the same chunk
        self.shown = [self._shown(name, *each) for name, each in CONSTRUCTED.items()]

    def batches(self, size: int, device: torch.device) -> Iterator[Batch]:
        """Give the images with both cues, at most ``size`` at a time: whole chunks of the source, or parts of one."""
        start = 0
        while start < self._count:
            end = start + size // CHUNK * CHUNK if size >= CHUNK else min(start + size, (start // CHUNK + 1) * CHUNK)
            rows = torch.arange(start, min(end, self._count))
            image, drawn = self._images("test", rows, device)
            yield Batch(image, drawn.target.to(device), rows.to(device), image)
            start = end

    def _shown(self, name: str, variant: Variant, alone: str) -> Shown:
        def version(batch: Batch) -> Tensor:
            image, drawn = self._images(variant, batch.index.cpu(), batch.image.device)
            if variant == "conflict":
                self._texture[batch.index.cpu()] = drawn.texture
            return image

        notes = {"texture": self._texture} if variant == "conflict" else {}
        return Shown(name, 1.0, version, bool(alone), notes, alone)

    def _images(self, variant: Variant, rows: Tensor, device: torch.device) -> tuple[Tensor, CueImages]:
        """Draw the chunks that ``rows``, consecutive numbers, are in, or take those that were drawn last."""
        begin, end = int(rows[0]) // CHUNK * CHUNK, int(rows[-1]) + 1
        if variant not in self._last or self._last[variant][0] != begin or end - begin > CHUNK:
            count = min(-(-end // CHUNK) * CHUNK, self._count) - begin
            self._last[variant] = begin, self._source.variant(variant, count, begin)
        part = slice(int(rows[0]) - begin, end - begin)
        drawn = CueImages(*(each[part] for each in self._last[variant][1]))
        return to_float(drawn.image.to(device)), drawn


def of_own(one: Chosen, split: StressedSplit, seed: int) -> tuple[Stressed, Shown]:
    """Give a set that has images of its own.

    Raises:
        ValueError: they cannot be read, or are not of the data's classes.
    """
    made = split.load(one.stress, 1.0, seed, one.name)
    return made, Shown(one.name, 1.0, unchanged, notes=made.notes)


def device_of(network: torch.nn.Module) -> torch.device:
    """Give the device of a network's parameters."""
    return next(network.parameters()).device
