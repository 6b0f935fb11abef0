"""``python analyze.py task=show_stress data=cifar10 'stress=[texture,noise]'``: a figure of stress sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from kdbias.analysis.collect import save_figures
from kdbias.analysis.stress_configs import loaded, selected, source_of, strengths
from kdbias.checks.check import ConfigError
from kdbias.config.spec import Tree
from kdbias.report.stress import stress_grid
from kdbias.stress.loading import SplitImages
from kdbias.stress.own_images import OwnImages

COLUMNS = 16


def show_stress(tree: Tree) -> None:
    """Draw the first ``images`` of the split under each set at each strength; the path is printed last.

    Raises:
        ConfigError: as ``stress_figure``.
    """
    save_figures({"show_stress": stress_figure(tree)}, Path(tree["out"]))


def stress_figure(tree: Tree) -> Figure:
    """Draw the first ``images`` of the split under each set at each strength.

    Null draws as many images as fit in 16 columns. The sets are built of the images that are drawn, not of the split.

    Raises:
        ConfigError: no data set or no stress set is named, or a set refuses the images.
    """
    source = source_of(tree)
    sets, levels = selected(tree, source), strengths(tree)
    count = min(tree["images"] or COLUMNS, max(1, COLUMNS // (1 + len(levels))))
    taken = [name for name, stress in sets.items() if isinstance(stress, OwnImages)]
    if taken:
        raise ConfigError(f"stress.{taken[0]}: has images of its own, no version of the data's: leave it out here")
    try:
        clean = SplitImages(source, tree["split"], count).part(0, count)[0]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    pool = dict(tree) | {"images": max(count, 100)}  # from which sets take the amplitudes of other images
    rows = {
        name: [_for_drawing(loaded(pool, source, name, stress, level).image[:count]) for level in levels]
        for name, stress in sets.items()
    }
    return stress_grid(clean / np.float32(255), rows, strengths=levels)


def _for_drawing(image: Tensor) -> NDArray[np.float32]:
    return (image.float() / 255).permute(0, 2, 3, 1).numpy()
