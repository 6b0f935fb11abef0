"""Figures of Grad-CAM: the maps of each network on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.images import beside, over, sheet, show
from kdbias.report.networks import NetworkLines, Runs, epoch_name, networks
from kdbias.report.over_training import some
from kdbias.report.style import heading, styled

CELL, SMALL = 0.72, 6.0  # inches of an image, and points of the class above it
EPOCHS, SHOWN = 5, 5  # rows and images of a figure of training: what a card of TensorBoard shows legibly
EMPTY = "no evidence\nfor this class"
STRENGTH = 0.55  # of the map over the image
Array = npt.NDArray[np.float64]


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw the maps over the images, a row for each network; if it has several seeds, the first is drawn.

    If networks were measured on different images, each set of images has a figure.
    """
    found = networks(results, control, initial)
    sets: list[list[NetworkLines]] = []
    for network in found:
        for others in sets:
            if _same(others[0].runs[0], network.runs[0]):
                others.append(network)
                break
        else:
            sets.append([network])
    return {"gradcam" if place == 0 else f"gradcam-{place + 1}": _sheet(group) for place, group in enumerate(sets)}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's maps over training, a row for each epoch, from the Results of a ``ProbeCallback`` in order.

    If there are many epochs, five are drawn, including the first and the last.
    """
    chosen = [results[place] for place in some(len(results), EPOCHS)]
    return _sheet(networks({epoch_name(result): result for result in chosen}), SHOWN, 0.95)


def overlay(image: Array, heat: Array) -> Array:
    """Lay a map ``(h, w)`` in 0..1 over an image ``(H, W, 3 or 1)`` in [0, 1]: ``(H, W, 3)``.

    The map is resampled bilinearly and coloured. The image below it is grey, so all colour comes from the map.
    """
    height, width = image.shape[:2]
    fine = _resampled(_resampled(heat, height, 0), width, 1)
    colours = np.asarray(mpl.colormaps["inferno"](fine))[..., :3]
    grey = image.mean(-1, keepdims=True)
    return np.asarray((1 - STRENGTH) * grey + STRENGTH * colours, dtype=np.float64)


def _same(a: Result, b: Result) -> bool:
    return np.array_equal(a.arrays["image"], b.arrays["image"])


def _sheet(group: Sequence[NetworkLines], most: int | None = None, aside: float = 1.7) -> Figure:
    """Draw a row for each network, of the first ``most`` images; ``aside`` is room for their names (inches)."""
    first = group[0].runs[0]
    images, targets = first.arrays["image"][:most] / 255, first.arrays["target"][:most]
    with styled():
        figure, cells = sheet(len(group) + 1, len(images), cell=CELL + 0.13, aside=aside)
        for axes, image, target in zip(cells[0], images, targets, strict=True):
            show(axes, image)
            over(axes, _name(first, target), size=SMALL, width=CELL)
        beside(cells[0][0], "image, class")
        for row, network in zip(cells[1:], group, strict=True):
            run = network.runs[0]
            beside(row[0], network.label)
            for axes, image, heat, answer, target in zip(
                row,
                images,
                *(run.arrays[key][:most] for key in ("map", "answer", "target")),
                strict=True,
            ):
                show(axes, overlay(image, heat))
                if not heat.any():
                    _empty(axes)
                over(axes, ("✓ " if answer == target else "✗ ") + _name(run, answer), size=SMALL, width=CELL)
        of = "the network's answer" if first.meta["of"] == "answer" else "the image's class"
        count = f"{len(images)} of n = {first.meta['n']:,} images"
        heading(figure, f"Grad-CAM of {of}, {count}; dark: nothing, bright: the most")
    return figure


def _empty(axes: Axes) -> None:
    """Say in a map of nothing but 0 that nothing speaks for the class."""
    where: Any = {"transform": axes.transAxes, "ha": "center", "va": "center", "fontsize": SMALL}
    axes.text(0.5, 0.5, EMPTY, color="white", **where)


def _name(result: Result, number: int) -> str:
    names = result.meta["names"]
    return str(names[number]) if names else f"class {number}"


def _resampled(values: Array, size: int, axis: int) -> Array:
    """Resample one axis linearly to ``size``, as torch's bilinear interpolation does."""
    count = values.shape[axis]
    places = ((np.arange(size) + 0.5) * count / size - 0.5).clip(0, count - 1)
    low = np.floor(places).astype(int)
    high, part = np.minimum(low + 1, count - 1), places - low
    shape = (-1, 1) if axis == 0 else (1, -1)
    first, second = values.take(low, axis), values.take(high, axis)
    return np.asarray(first + (second - first) * part.reshape(shape), dtype=np.float64)
