"""Which images ``probe=bias`` shows: stress sets of the split, cues by construction, images that people made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.data.cues import CueSource, Variant
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


def of_cues(source: CueSource, count: int) -> tuple[Stressed, list[Shown]]:
    """Give test images of ``data=cues``, and the versions of the same images with a cue removed or changed."""
    clean = _drawn(source, "test", count)
    found = []
    for name, (variant, alone) in CONSTRUCTED.items():
        made = _drawn(source, variant, count)
        found.append(Shown(name, 1.0, stored_version(made, name), bool(alone), made.notes, alone))
    return clean, found


def _drawn(source: CueSource, variant: Variant, count: int) -> Stressed:
    made = source.variant(variant, count)
    notes = {"texture": made.texture} if variant == "conflict" else {}
    return Stressed(made.image, made.target, notes, {"variant": variant})


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
