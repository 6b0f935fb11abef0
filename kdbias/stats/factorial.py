"""A two-by-two design: the effect of each of two factors, and their interaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kdbias.stats.comparison import Difference, difference


@dataclass(frozen=True)
class Effects:
    """Main effects of both factors, second level - first, and their interaction: the second factor's effect at the
    first one's second level - that at its first.
    """

    first: Difference
    second: Difference
    interaction: Difference


def effects(scores: Mapping[tuple[str, str], ArrayLike]) -> Effects:
    """Give the effects of two factors of two levels on a score.

    ``scores`` has the four cells by (level of the first factor, level of the second), each ``(seeds,)`` and paired by
    seed; levels are ordered by their first occurrence. A main effect is the mean over the other factor's levels.
    Intervals are over seeds. If the interaction is shown, main effects say little: look at the cells.

    Raises:
        ValueError: the cells are not two by two, or not of one number of seeds.

    Source: Fisher 1935, The Design of Experiments; paired by seed as blocks.
    """
    one = list(dict.fromkeys(first for first, _ in scores))
    two = list(dict.fromkeys(second for _, second in scores))
    if (len(one), len(two), len(scores)) != (2, 2, 4):
        raise ValueError(f"expected four cells of two levels by two, got {', '.join(map(str, scores))}")
    cells = [[np.asarray(scores[first, second], dtype=np.float64) for second in two] for first in one]
    shapes = {cell.shape for row in cells for cell in row}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"expected one score for each seed in every cell, got shapes {sorted(shapes)}")
    (low_low, low_high), (high_low, high_high) = cells
    return Effects(
        difference((high_low + high_high) / 2, (low_low + low_high) / 2),
        difference((low_high + high_high) / 2, (low_low + high_low) / 2),
        difference(high_high - high_low, low_high - low_low),
    )
