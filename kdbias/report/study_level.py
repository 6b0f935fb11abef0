"""A number that a hypothesis reads, of one group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """What a group has of a measure that a hypothesis reads: the values of its runs by seed; shares if ``percent``."""

    measure: str
    group: str
    by_seed: Mapping[int, float]
    percent: bool = False
