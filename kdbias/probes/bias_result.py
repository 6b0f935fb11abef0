"""The Result of ``probe=bias``, collected number by number; each that is NaN has its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from kdbias.functional.rank import chance_reciprocal_rank
from kdbias.probes.bias_answers import OWN, Answers
from kdbias.probes.bias_conflict import conflict
from kdbias.probes.bias_corruption import corruption_errors
from kdbias.probes.bias_reference import NONE
from kdbias.probes.bias_rows import BESIDE_TEACHER, REFERENCE, SCORES, Row, Shown, row
from kdbias.stats import Estimate
from kdbias.stats.reliance import reliance_area
from kdbias.stats.scores import bounded_mean
from kdbias.stress.corruption import COMMON

CUES = ("shape", "texture")
Clean = npt.NDArray[np.bool_] | str
"""Whether each clean image was answered right, or why there are no clean images of the same kind."""


@dataclass
class Collected:
    """Scalars with their intervals (``<scalar>_interval``), other arrays, and reasons by scalar.

    ``classes`` is their number. ``lack`` says why there is no teacher; empty if there is one.
    """

    classes: int
    lack: str
    scalars: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def put(self, key: str, found: Estimate) -> None:
        """Take a number, its interval, and the reason if there is none."""
        self.scalars[key] = found.value
        self.arrays[f"{key}_interval"] = np.array([found.low, found.high])
        if found.reason:
            self.reasons[key] = found.reason

    def take(self, shown: Sequence[Shown], answers: Answers, clean: Clean, first: int) -> None:
        """Score the versions ``shown``, which are number ``first`` of ``answers`` and those after it."""
        found = [row(one, place, answers, clean, self.classes, self.lack) for place, one in enumerate(shown, first)]
        self.rows += found
        for name, group in groupby(found, key=lambda one: one.shown.name):
            self._set(name, list(group), clean)
        for place, one in enumerate(shown, first):
            self._conflict(one, place, answers)
            self._alone(one, place, answers)
        self._corruptions(shown, answers, first)

    def close(self) -> None:
        """State what could not be measured because no image shows it."""
        seen = {cue for cue in CUES if f"sensitivity_{cue}" in self.scalars}
        if len(seen) == 1:
            (other,) = set(CUES) - seen
            self.reasons[f"sensitivity_{other}"] = f"no set here leaves the {other} alone (data=cues draws such images)"

    def _set(self, name: str, rows: Sequence[Row], clean: Clean) -> None:
        """Take the numbers of one set at its highest strength, and the area under its curve of losses."""
        last = rows[-1]
        self.arrays[f"right_{name}"] = np.stack([np.where(one.kept, one.right, -1).astype(np.int8) for one in rows])
        if last.shown.kind:
            return  # a corruption has its error over severities instead
        for score in SCORES:
            if not (self.lack and score in BESIDE_TEACHER):
                self.put(f"{score}_{name}", last.scores[score])
        if last.shown.suppresses and len(rows) > 1 and not isinstance(clean, str):
            strengths, right = [one.shown.strength for one in rows], np.stack([one.right for one in rows])
            self.put(f"reliance_area_{name}", reliance_area(right, clean, strengths, self.classes))

    def _conflict(self, shown: Shown, place: int, answers: Answers) -> None:
        """Take which cue decides, where two disagree."""
        texture = shown.note("texture", answers.index)
        if texture is None or shown.strength < 1:
            return
        found, masks = conflict(answers.answer[OWN][place], answers.target, texture, self.classes)
        for key, estimate in found.items():
            self.put(key, estimate)
        self.arrays |= {**masks, "conflict_shape": answers.target, "conflict_texture": texture}

    def _alone(self, shown: Shown, place: int, answers: Answers) -> None:
        """Take the sensitivity to the one cue that an image shows."""
        if not shown.alone:
            return
        ranks, found = answers.ranks[place], shown.note("found", answers.index)
        kept = np.ones(len(ranks), bool) if found is None else found == 1
        key = f"sensitivity_{shown.alone}"
        if kept.any():
            self.put(key, bounded_mean(ranks[kept]))
        else:
            self.put(key, Estimate.refuse(f"{shown.name} found nothing in any of {len(ranks)} images"))
        self.arrays[f"reciprocal_rank_{shown.alone}"] = ranks
        self.scalars["sensitivity_chance"] = chance_reciprocal_rank(self.classes)

    def _corruptions(self, shown: Sequence[Shown], answers: Answers, first: int) -> None:
        """Take the errors under corruption; the clean version is number 0 of ``answers``."""
        sets = {name: list(places) for name, places in _corrupted(shown, first)}
        if not sets:
            return
        kinds = {one.name: one.kind for one in shown}
        reference = answers.right(REFERENCE) if REFERENCE in answers.answer else NONE
        common = [name for name in sets if kinds[name] in COMMON]
        found, reason = corruption_errors(answers.right(), reference, 0, sets, common)
        for key, estimate in found.items():
            self.put(key, estimate)
        if reason:
            self.reasons["mce"] = reason

    def vectors(self) -> dict[str, npt.NDArray[Any]]:
        """Give the scores of all versions as arrays ``version_<score>`` ``(V,)``, with ``_interval`` ``(V, 2)``."""
        found: dict[str, npt.NDArray[Any]] = {}
        for score in SCORES:
            each = [one.scores[score] for one in self.rows]
            found[f"version_{score}"] = np.array([one.value for one in each])
            found[f"version_{score}_interval"] = np.array([(one.low, one.high) for one in each]).reshape(-1, 2)
        return found


def _corrupted(shown: Sequence[Shown], first: int) -> Iterator[tuple[str, Iterator[int]]]:
    """The numbers of the versions of each corruption, by the name of its set."""
    numbered = [(place, one.name) for place, one in enumerate(shown, first) if one.kind]
    for name, group in groupby(numbered, key=lambda one: one[1]):
        yield name, (place for place, _ in group)
