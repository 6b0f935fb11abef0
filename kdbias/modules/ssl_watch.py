"""Detects representations that have collapsed and stay collapsed: more training would not help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdbias.config.build import builder

OBSERVATIONS = 3  # at least, before a run is given up


@builder("collapse")
@dataclass
class CollapseWatch:
    """Watches the signs of collapse; a sign that has been there for ``patience`` of training ends the run.

    Args:
        begin: part of training before which signs do not count: at the beginning features are poor.
        patience: part of training for which a sign has to stay.
        rank: a lower effective rank of the features is a sign (1 is one direction).
        std: a lower deviation of the features is a sign (0 is one point, 1 an even spread).
        entropy: of DINO's targets over log K; an image's entropy above it is a sign (1 is uniform), and an entropy of
            the mean target below one minus it is (0 is one prototype for all images).

    Raises:
        ValueError: a value is out of range; the message names the key.
    """

    begin: float = 0.1
    patience: float = 0.1
    rank: float = 2.0
    std: float = 0.02
    entropy: float = 0.99
    since: dict[str, list[float]] = field(default_factory=dict, init=False)  # progress of the first sight, sightings

    def see(self, progress: float, signs: Mapping[str, float]) -> str | None:
        """Take in the signs at ``progress`` (0..1); give the reason to stop, or None.

        ``signs`` are ``rank``, ``std`` and, of DINO, ``teacher_entropy`` and ``marginal_entropy``; others are ignored.
        """
        if progress < self.begin:
            return None
        for sign, reason in self._reasons(signs).items():
            if reason is None:
                self.since.pop(sign, None)
                continue
            first, count = self.since.get(sign, [progress, 0])
            self.since[sign] = [first, count + 1]
            if progress - first >= self.patience and count + 1 >= OBSERVATIONS:
                return f"collapsed: {reason}, from {first:.0%} to {progress:.0%} of training"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Give the state from which a resumed run continues."""
        return {sign: list(seen) for sign, seen in self.since.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.since = {sign: list(seen) for sign, seen in state.items()}

    def _reasons(self, signs: Mapping[str, float]) -> dict[str, str | None]:
        """Give for each known sign what is wrong, or None if nothing is."""
        bounds = {  # sign: lower bound, upper bound, what it means to be beyond
            "rank": (self.rank, math.inf, f"the features' effective rank is below {self.rank:g}"),
            "std": (self.std, math.inf, f"the features' deviation is below {self.std:g}"),
            "teacher_entropy": (
                -math.inf,
                self.entropy,
                f"the teacher's entropy is above {self.entropy:g} ln K, that of uniform targets",
            ),
            "marginal_entropy": (
                1 - self.entropy,
                math.inf,
                f"the mean target's entropy is below {1 - self.entropy:.2g} ln K, one prototype for all images",
            ),
        }
        return {
            sign: None if low <= signs[sign] <= high else f"{text} ({signs[sign]:.3g})"
            for sign, (low, high, text) in bounds.items()
            if sign in signs
        }
