"""The figure of stress sets: a row a set, the same images at growing strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.report.images import image_grid


def stress_grid(
    clean: npt.NDArray[np.floating],
    rows: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    *,
    strengths: Sequence[float],
    title: str = "Stress sets",
) -> Figure:
    """Draw images beside their stressed versions, a row for each set of ``rows``.

    ``clean`` is ``(n, H, W, C)`` in [0, 1]; a row has one such array for each of ``strengths``. The columns are the
    first image clean and at each strength, then the second image.

    Raises:
        ValueError: a row has not one array for each strength, or there is no row.
    """
    lines: dict[str, npt.NDArray[Any]] = {}
    for name, levels in rows.items():
        if len(levels) != len(strengths):
            raise ValueError(f"the row {name} has {len(levels)} strengths, not {len(strengths)}")
        lines[name] = np.stack([clean, *levels], axis=1).reshape(-1, *clean.shape[1:])
    labels = ["clean", *(f"{strength:g}" for strength in strengths)] * len(clean)
    return image_grid(lines, columns=labels, title=title)
