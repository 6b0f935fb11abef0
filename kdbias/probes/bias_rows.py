"""The versions of images that ``probe=bias`` shows, and what a network scores on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kdbias import stats
from kdbias.probes.bias_answers import OWN, Answers
from kdbias.stats import Estimate
from kdbias.stats.consistency import error_consistency
from kdbias.stress.base import Version

TEACHER, REFERENCE = "teacher", "reference"
"""Keys of the networks that are asked beside the measured one."""
SCORES = ("accuracy", "ratio", "retention", "agreement", "kappa")
BESIDE_TEACHER = ("agreement", "kappa")


@dataclass(frozen=True)
class Shown:
    """One version of the images: of the set ``name`` at ``strength``.

    ``notes`` are those of the set, ``(images,)``. ``alone`` names the cue that alone is left, ``kind`` the corruption.
    """

    name: str
    strength: float
    version: Version
    suppresses: bool = False
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    alone: str = ""
    kind: str = ""

    def note(self, name: str, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Give a note of the images at ``index``; None if the set has no such note."""
        return self.notes[name].numpy()[index] if name in self.notes else None


@dataclass(frozen=True)
class Row:
    """The scores of one version, on the ``kept`` of the images ``(n,)``: those in which the set found something."""

    shown: Shown
    kept: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    scores: Mapping[str, Estimate]

    @property
    def about(self) -> dict[str, Any]:
        """Plain facts about it."""
        shown = self.shown
        return {
            "set": shown.name,
            "strength": shown.strength,
            "n": int(self.kept.sum()),
            "suppresses": shown.suppresses,
            "kind": shown.kind,
        }


def row(shown: Shown, place: int, answers: Answers, clean: npt.NDArray[np.bool_] | str, classes: int, lack: str) -> Row:
    """Score version number ``place`` of ``answers``.

    ``clean`` says which clean images were answered right, or why there are none of the same images. ``lack`` says why
    there is no teacher; it is not read if the teacher was asked.
    """
    right = answers.right()[place]
    found = shown.note("found", answers.index)
    kept = np.ones(len(right), bool) if found is None else found == 1
    if not kept.any():
        none = Estimate.refuse(f"{shown.name} found nothing in any of {len(right)} images")
        return Row(shown, kept, right, dict.fromkeys(SCORES, none))
    seen = right[kept]
    scores = {"accuracy": stats.accuracy(seen)}
    if isinstance(clean, str):
        scores |= dict.fromkeys(("ratio", "retention"), Estimate.refuse(clean))
    else:
        scores["ratio"] = stats.ratio(seen, clean[kept], classes)
        scores["retention"] = stats.retention(seen, clean[kept], classes)
    if TEACHER in answers.answer:
        same = answers.answer[OWN][place] == answers.answer[TEACHER][place]
        scores["agreement"] = stats.accuracy(same[kept])
        scores["kappa"] = error_consistency(seen, answers.right(TEACHER)[place][kept])
    else:
        scores |= dict.fromkeys(("agreement", "kappa"), Estimate.refuse(lack))
    return Row(shown, kept, right, scores)
