"""``stress=[scramble_grey,...]``: one set after another, to suppress two cues at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdbias.config.build import build, builder
from kdbias.stress.stress_set import Image, Notes, StressSet


@builder("stress")
@dataclass(frozen=True)
class Chain(StressSet):
    """The sets of ``parts`` one after another, each at the same strength; ``parts`` are sets, or nodes that name them.

    Each part draws from a generator of its own, so a part's draws do not depend on those before it. The chain notes
    what its parts note; where two note the same, it is what the later says.

    Source: Burgert et al. 2025, the pairs of ``reliance_protocol.py``.

    Raises:
        ValueError: there are fewer than two parts, or one is a set of images of its own.
    """

    parts: Sequence[StressSet | Mapping[str, Any]]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"stress: a chain needs at least two parts, got {len(self.parts)}")
        if not all(isinstance(part, StressSet) for part in self.sets):
            raise ValueError("stress: the parts of a chain must change images; a set of images of its own is none")
        object.__setattr__(self, "notes", tuple(dict.fromkeys(name for part in self.sets for name in part.notes)))

    @cached_property
    def sets(self) -> tuple[StressSet, ...]:
        """The parts, built."""
        return tuple(part if isinstance(part, StressSet) else build(part, group="stress") for part in self.parts)

    @property
    def aligned(self) -> bool:
        """Whether every part leaves what the image shows where it is."""
        return all(part.aligned for part in self.sets)

    @property
    def no_view(self) -> str:
        """Say why a part cannot be a view; empty if each can."""
        return next((part.no_view for part in self.sets if part.no_view), "")

    def require_strength(self, strength: float) -> None:
        """Pass a strength that every part has.

        Raises:
            ValueError: a part has it not.
        """
        for part in self.sets:
            part.require_strength(strength)

    def full(self, image: Image, label: int, rng: np.random.Generator) -> Image:
        """Give the image after all parts at strength 1."""
        return self.at(image, label, 1.0, rng)

    def at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> Image:
        """Apply the parts in order."""
        return self.noted_at(image, label, strength, rng)[0]

    def noted_at(self, image: Image, label: int, strength: float, rng: np.random.Generator) -> tuple[Image, Notes]:
        """Apply the parts in order, and give what they note."""
        said: Notes = {}
        for part, own in zip(self.sets, rng.spawn(len(self.sets)), strict=True):
            image, notes = part.noted(image, label, strength, own)
            said |= notes
        return image, said

    def bind(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Self:
        """Give the chain with each part bound."""
        return type(self)([part.bind(images, labels) for part in self.sets])

    def refuses(self, size: int, channels: int) -> str:
        """Say why a part refuses the images; empty if none does."""
        return next((why for part in self.sets if (why := part.refuses(size, channels))), "")
