"""Figures of representational similarity between layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.bands import Runs, band, counted
from kdbias.report.style import CONTROL, INITIAL, INK, REFERENCE, canvas, legend_beside, look, seeds, styled

ACROSS = 4  # panels in a row


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw everything that CKA shows of several networks, or seeds of them: figures by file name.

    All matrices beside each other, each on its own, and a line a network: of one network, how alike each layer is to
    the last; of two, to the other's layer of nearest depth. Matrices are means over seeds. ``control`` and ``initial``
    name the entries that are the control without teacher and the untrained network.
    """
    titles = {name: _title(name, runs, control, initial) for name, runs in results.items()}
    mean = {titles[name]: _mean(runs) for name, runs in results.items()}
    some = next(iter(mean.values()))
    start = "cka" if some.meta.get("other") is None else "cka_teacher"
    drawn = {start: panels(mean, other=some.meta.get("other"))}
    if len(mean) > 1:
        for name in results:
            one = mean[titles[name]]
            drawn[f"{start}-{_file(name)}"] = heat_map(one, name=titles[name], other=one.meta.get("other"))
    line = "last" if some.meta.get("other") is None else "alignment"
    drawn[f"{start}-{line}"] = by_layer(results, control=control, initial=initial)
    return drawn


def heat_map(result: Result, *, name: str = "student", other: str | None = None) -> Figure:
    """Draw the CKA of all layers of a network with each other, or with those of ``other``, the number of images
    above.
    """
    return panels({name: result}, other=other)


def panels(results: Mapping[str, Result], *, other: str | None = None) -> Figure:
    """Draw the CKA of several networks beside each other, on one colour scale from 0 to 1.

    ``other`` names the second network where the Results are of two. Estimates below 0, which the debiased estimator
    gives for unrelated features, have the colour of 0 and their own number.
    """
    if not results:
        raise ValueError("nothing to draw: no Result of CKA")
    with styled():
        height = 3.3 if other is None else 2.7
        columns = min(len(results), ACROSS)
        rows = math.ceil(len(results) / columns)
        figure, grid = canvas(rows, columns, width=3.0 * columns + 0.9, height=height * rows, squeeze=False)
        figure.set_layout_engine("compressed")
        for axes, (name, result) in zip(grid.flat, results.items(), strict=False):
            image = _panel(axes, result, other)
            sample = _sample(result).replace(", minibatches", ",\nminibatches")  # as wide as a panel
            axes.set_title(f"{name}\n{sample}")
        for axes in grid.flat[len(results) :]:
            axes.remove()
        _bar(figure, image, list(grid.flat[: len(results)]), next(iter(results.values())))
    return figure


def by_layer(results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None) -> Figure:
    """Draw, layer by layer, the CKA with the network's last layer, or with the other network's layer of nearest depth.

    A line a network, the mean over seeds, with a band from the lowest to the highest. Independent features lie at 0.
    """
    if not results:
        raise ValueError("nothing to draw: no Result of CKA")
    found = {name: seeds(runs, Result) for name, runs in results.items()}
    some = next(iter(found.values()))[0]
    counted = len({len(runs[0].arrays["cka"]) for runs in found.values()}) == 1
    with styled():
        figure, axes = canvas()
        place = 0
        for name, runs in found.items():
            style = {control: CONTROL, initial: INITIAL}.get(name) or look(place)
            place += name not in (control, initial)
            label = _title(name, runs, control, initial, own=True)
            x = np.arange(len(runs[0].arrays["cka"])) if counted else runs[0].arrays["depth"]
            band(axes, x, np.stack([_profile(run) for run in runs]), label, style)
        axes.axhline(0.0, **REFERENCE)
        if counted:
            axes.set_xticks(_ticks(len(some.arrays["cka"])))
        axes.set(xlabel="layer" if counted else "depth of the layer (0 to 1)", ylabel=_with_what(some))
        axes.set(title=_sample(some), ylim=(min(-0.02, axes.get_ylim()[0]), 1.02))
        legend_beside(axes)
    return figure


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's CKA as it was first and as it is now, from the Results of a ``ProbeCallback`` in order."""
    shown = [results[-1]] if len(results) == 1 else [results[0], results[-1]]
    named = {"untrained" if r.meta["epoch"] == 0 else f"epoch {r.meta['epoch']}": r for r in shown}
    return panels(named, other=results[-1].meta.get("other"))


def _panel(axes: Axes, result: Result, other: str | None) -> AxesImage:
    cka = result.arrays["cka"]
    aspect: Literal["equal", "auto"] = "equal" if other is None else "auto"
    image = axes.imshow(cka.T, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest", aspect=aspect)
    axes.grid(False)
    axes.set(xlabel="layer", ylabel="layer")
    if other is not None:
        axes.set(ylabel=f"layer of {other}")
    axes.set_xticks(_ticks(cka.shape[0]))
    axes.set_yticks(_ticks(cka.shape[1]))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if max(cka.shape) <= 8:
        for (i, j), value in np.ndenumerate(cka):
            axes.text(
                i, j, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value < 0.65 else INK
            )
    return image


def _ticks(layers: int) -> list[int]:
    step = 1 if layers <= 12 else 2 if layers <= 24 else 4
    return list(range(0, layers, step))


def _bar(figure: Figure, image: AxesImage, axes: list[Axes], result: Result) -> None:
    samples = {"mean": "mean patch token", "cls": "CLS token", "flat": "all patch tokens"}
    tokens = samples.get(result.meta.get("tokens", ""), "")
    label = f"CKA ({', '.join(part for part in (result.meta.get('kernel', 'linear'), tokens) if part)})"
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02, label=label)
    bar.outline.set_visible(False)


def _profile(result: Result) -> npt.NDArray[np.float64]:
    cka: npt.NDArray[np.float64] = result.arrays["cka"]
    return cka[:, -1] if "nearest" not in result.arrays else cka[np.arange(len(cka)), result.arrays["nearest"]]


def _with_what(result: Result) -> str:
    if "nearest" not in result.arrays:
        return "CKA with the last layer"
    return f"CKA with {result.meta.get('other', 'the other network')},\nlayer of nearest depth"


def _sample(result: Result) -> str:
    batch = result.meta.get("batch")
    within = "" if batch is None else f", minibatches of {batch}"
    return f"n = {result.meta['n']:,} images, {result.meta['estimator']}{within}"


def _mean(runs: Runs) -> Result:
    found = seeds(runs, Result)
    return replace(found[0], arrays=found[0].arrays | {"cka": np.mean([run.arrays["cka"] for run in found], axis=0)})


def _title(name: str, runs: Runs, control: str | None, initial: str | None, own: bool = False) -> str:
    title = {control: "control, no teacher", initial: "untrained"}.get(name, name)
    count = len(seeds(runs, Result))
    return counted(title, count) if own or count == 1 else f"{title} (mean of {count} seeds)"


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
