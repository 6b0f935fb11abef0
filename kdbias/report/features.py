"""Figures of feature maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.images import over, sheet, show
from kdbias.report.networks import NetworkLines, Runs, epoch_name, networks
from kdbias.report.style import heading, styled

CELL = 0.78  # inches
LIMITS = (0.01, 0.99)  # quantiles of each component that become 0 and 1
Array = npt.NDArray[Any]


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw principal components as colours and the norm of tokens: a figure for each network, a column for each layer.

    If a network has several seeds, the first is drawn.
    """
    drawn = {}
    for network in networks(results, control, initial):
        name = re.sub(r"[^\w.-]", "-", network.label)
        drawn[f"features-components-{name}"] = _components(network)
        drawn[f"features-norm-{name}"] = _norms(network)
    return drawn


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's principal components in the last of the Results of a ``ProbeCallback``."""
    return _components(networks({epoch_name(results[-1]): results[-1]})[0])


def _components(network: NetworkLines) -> Figure:
    run = network.runs[0]
    maps = [_coloured(run.arrays[f"components_{layer}"]) for layer in range(len(run.meta["layers"]))]
    shares = run.arrays["explained"].sum(1)
    below = [f"{share:.0%}".replace("%", " %") for share in shares]
    title = "principal components 1-3 of tokens as red, green, blue; below: their share of variance"
    return _sheet(network, maps, below, title)


def _norms(network: NetworkLines) -> Figure:
    run = network.runs[0]
    maps = [run.arrays[f"norm_{layer}"] for layer in range(len(run.meta["layers"]))]
    below = [f"{found.min():.3g}–{found.max():.3g}" for found in maps]
    return _sheet(network, maps, below, "norm of tokens, dark: least, bright: most of a layer; below: these")


def _coloured(components: Array) -> Array:
    """Scale ``(k, h, w, 3)`` to 0..1, each component by its quantiles over all images."""
    low, high = np.quantile(components, LIMITS, axis=(0, 1, 2))
    return np.asarray(((components - low) / np.maximum(high - low, 1e-12)).clip(0, 1))


def _sheet(network: NetworkLines, maps: list[Array], below: list[str], title: str) -> Figure:
    run = network.runs[0]
    images = run.arrays["image"] / 255
    with styled():
        figure, cells = sheet(len(images), len(maps) + 1, cell=CELL, aside=0.3, above=1.1)
        for row, image in enumerate(images):
            show(cells[row][0], image)
            for axes, layer in zip(cells[row][1:], maps, strict=True):
                axes.imshow(layer[row], cmap="magma", vmin=layer.min(), vmax=layer.max(), interpolation="nearest")
        over(cells[0][0], "image")
        for top, bottom, name, text in zip(cells[0][1:], cells[-1][1:], run.meta["layers"], below, strict=True):
            over(top, name, width=CELL)
            bottom.set_xlabel(text, fontsize=6.5, labelpad=2)
        heading(figure, f"{network.label}, n = {run.meta['n']:,} images", title)
    return figure
