"""The stress sets of one split: made when they are first asked for, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kdbias.data.base import Source, Split
from kdbias.stress.kept import Stressed
from kdbias.stress.loading import load
from kdbias.stress.own_images import OwnImages
from kdbias.stress.stress_set import StressSet


@dataclass(frozen=True)
class StressedSplit:
    """The first ``limit`` images of a split (None: all) under any stress set.

    The sets lie in ``root``, where others find them too. With None they lie in a temporary folder for as long as this
    object.
    """

    source: Source
    split: Split
    limit: int | None = None
    root: Path | None = None

    def load(
        self, stress: StressSet | OwnImages | Mapping[str, Any], strength: float = 1.0, seed: int = 0, name: str = ""
    ) -> Stressed:
        """Give one set at one strength, as ``kdbias.stress.load`` does.

        Raises:
            ValueError: as ``kdbias.stress.load``.
        """
        return load(
            stress,
            self.source,
            root=self.root or Path(self._temporary.name),
            split=self.split,
            strength=strength,
            limit=self.limit,
            seed=seed,
            name=name,
        )

    @cached_property
    def _temporary(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix="kdbias-stress-")
