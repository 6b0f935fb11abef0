"""Figures of representational similarity between layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.images import colour_bar, matrix
from kdbias.report.line_ends import label_ends
from kdbias.report.lines import draw, ticks
from kdbias.report.networks import Runs, epoch_name, named, networks
from kdbias.report.style import CARD, REFERENCE, canvas, panel_grid, seeds, styled

ACROSS = 4  # panels in a row
ASIDE = 0.9  # inches, of the scale beside them


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw all CKA figures of several networks, by file name.

    They show all matrices side by side, each matrix alone, and a line for each network. The line compares each layer
    with the last one or, in Results of two networks, with the other's layer of nearest depth. Matrices are means over
    seeds. ``control`` and ``initial`` name the control without teacher and the untrained network.
    """
    titles = {name: _title(name, runs, control, initial) for name, runs in results.items()}
    mean = {titles[name]: _mean(runs) for name, runs in results.items()}
    some = next(iter(mean.values()))
    start = "cka" if some.meta.get("other") is None else "cka_teacher"
    others = {title: str(one.meta["other"]) for title, one in mean.items() if one.meta.get("other") is not None}
    drawn = {start: panels(mean, other=others or None)}
    if len(mean) > 1:
        for name in results:
            one = mean[titles[name]]
            drawn[f"{start}-{_file(name)}"] = heat_map(one, name=titles[name], other=one.meta.get("other"))
    line = "last" if some.meta.get("other") is None else "alignment"
    drawn[f"{start}-{line}"] = by_layer(results, control=control, initial=initial)
    return drawn


def heat_map(result: Result, *, name: str = "student", other: str | None = None) -> Figure:
    """Draw the CKA of all layers of a network with each other, or with those of ``other``."""
    return panels({name: result}, other=other)


def panels(
    results: Mapping[str, Result], *, other: str | Mapping[str, str] | None = None, width: float = 3.0
) -> Figure:
    """Draw the CKA of several networks side by side, on one colour scale over the values that occur.

    ``other`` names the second network if the Results are of two, or that of each of them by name; ``width`` is that of
    a panel (inches). The debiased estimate can be below 0 for unrelated features. Such a value has the colour of 0 but
    shows its own number.

    Raises:
        ValueError: there is no Result.
    """
    if not results:
        raise ValueError("nothing to draw: no Result of CKA")
    with styled():
        height = width + 0.3 if other is None else 0.9 * width
        figure, grid = panel_grid(len(results), ACROSS, width=width, height=height, aside=ASIDE, above=0.0)
        figure.set_layout_engine("compressed")
        bottom, top = occurring([result.arrays["cka"] for result in results.values()])
        for axes, (name, result) in zip(grid, results.items(), strict=True):
            cka = result.arrays["cka"].T
            digits = 2 if max(cka.shape) <= 8 else None
            image = matrix(axes, cka, bottom=bottom, top=top, digits=digits, square=other is None)
            axes.invert_yaxis()
            second = other if other is None or isinstance(other, str) else other[name]
            axes.set(xlabel="layer", ylabel="layer" if second is None else f"layer of {second}")
            axes.set(xticks=ticks(cka.shape[1]), yticks=ticks(cka.shape[0]))
            sample = _sample(result).replace(", minibatches", ",\nminibatches")  # as wide as a panel
            axes.set_title(f"{name}\n{sample}")
        colour_bar(figure, image, grid, _scale(next(iter(results.values()))))
    return figure


def by_layer(results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None) -> Figure:
    """Draw, layer by layer, the CKA with the network's last layer, or with the other network's layer of nearest depth.

    Each network has a line. With several seeds, it is their mean, with a band from the lowest to the highest.
    Independent features have a CKA of 0.

    Raises:
        ValueError: there is no Result.
    """
    if not results:
        raise ValueError("nothing to draw: no Result of CKA")
    found = networks(results, control, initial)
    some = found[0].runs[0]
    alike = len({len(network.runs[0].arrays["cka"]) for network in found}) == 1
    with styled():
        figure, axes = canvas()
        for network in found:
            first = network.runs[0].arrays
            x = np.arange(len(first["cka"])) if alike else first["depth"]
            draw(axes, x, network, np.stack([_profile(run) for run in network.runs]))
        axes.axhline(0.0, **REFERENCE)
        if alike:
            axes.set_xticks(ticks(len(some.arrays["cka"])))
        axes.set(
            xlabel="layer" if alike else "depth of the layer (0 to 1)",
            ylabel=_with_what([network.runs[0] for network in found]),
        )
        axes.set(title=_sample(some), ylim=(min(-0.02, axes.get_ylim()[0]), 1.02))
        label_ends(axes)
    return figure


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's CKA at first and at last, from the Results of a ``ProbeCallback`` in order."""
    shown = [results[-1]] if len(results) == 1 else [results[0], results[-1]]
    named = {epoch_name(result): result for result in shown}
    return panels(named, other=results[-1].meta.get("other"), width=(CARD - ASIDE) / 2)


def occurring(matrices: Iterable[npt.NDArray[Any]]) -> tuple[float, float]:
    """Give the ends of the colour scale of some matrices of CKA: multiples of .05 around all values, within 0 and 1."""
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    low, high = np.floor(20 * values.min() + 1e-9) / 20, np.ceil(20 * values.max() - 1e-9) / 20
    bottom = float(np.clip(low, 0.0, 0.95))
    return bottom, float(np.clip(high, bottom + 0.05, 1.0))


def _scale(result: Result) -> str:
    samples = {"mean": "mean patch token", "cls": "CLS token", "flat": "all patch tokens"}
    tokens = samples.get(result.meta.get("tokens", ""), "")
    return f"CKA ({', '.join(part for part in (result.meta.get('kernel', 'linear'), tokens) if part)})"


def _profile(result: Result) -> npt.NDArray[np.float64]:
    cka: npt.NDArray[np.float64] = result.arrays["cka"]
    return cka[:, -1] if "nearest" not in result.arrays else cka[np.arange(len(cka)), result.arrays["nearest"]]


def _with_what(results: Sequence[Result]) -> str:
    if "nearest" not in results[0].arrays:
        return "CKA with the last layer"
    others = {str(one.meta.get("other", "the other network")) for one in results}
    return f"CKA with {' or '.join(sorted(others))},\nlayer of nearest depth"


def _sample(result: Result) -> str:
    batch = result.meta.get("batch")
    within = "" if batch is None else f", minibatches of {batch}"
    return f"n = {result.meta['n']:,} images, {result.meta['estimator']}{within}"


def _mean(runs: Runs) -> Result:
    found = seeds(runs, Result)
    return replace(found[0], arrays=found[0].arrays | {"cka": np.mean([run.arrays["cka"] for run in found], axis=0)})


def _title(name: str, runs: Runs, control: str | None, initial: str | None) -> str:
    title, count = named(name, control, initial), len(seeds(runs, Result))
    return title if count == 1 else f"{title}\n(mean of {count} seeds)"


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
