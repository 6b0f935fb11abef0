"""Figures of what networks rely on: a row for each stress set, a curve for each suppression, a panel for each idea."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.bias_rows import Rows, by_set, draw_rows, estimate, last_versions, legend
from kdbias.report.lines import bands, chance, classes, draw
from kdbias.report.named_level import named_level
from kdbias.report.networks import NetworkLines, Runs, images, networks
from kdbias.report.over_training import scalars, validation
from kdbias.report.rows import named_value, percent_row_axis
from kdbias.report.style import canvas, card, heading, legend_beside, panel_grid, styled

KAPPA = "error consistency with the teacher (kappa)"
SHARES = {
    "shape_share": "shape share",
    "share_without_guesses": "without guesses",
    "decided": "decided at all",
}
SENSITIVITIES = {"sensitivity_shape": "shape alone", "sensitivity_texture": "texture alone"}


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw accuracy (%), retention and agreement by set, losses by strength, cues, and errors under corruption."""
    found = networks(results, control, initial)
    drawn = {
        "bias": sets(found),
        "bias_reliance": reliance(found),
        "bias_cues": cues(found),
        "bias_corruption": corruptions(found),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def sets(found: Sequence[NetworkLines]) -> Figure | None:
    """Draw accuracy (%), retention and, beside a teacher, agreement and kappa of each set at its highest strength."""
    names = list(dict.fromkeys(name for network in found for run in network.runs for name in last_versions(run)))
    if not names:
        return None
    taught = any(run.meta["teacher"] for network in found for run in network.runs)
    panels = {"accuracy": ("accuracy (%)", 100.0), "retention": ("retention (of accuracy above chance)", 1.0)}
    if taught:
        panels |= {"agreement": ("agreement with the teacher (%)", 100.0), "kappa": (KAPPA, 1.0)}
    with styled():
        height = 1.4 + (0.28 + 0.05 * len(found)) * (len(names) + 1)
        figure, cells = canvas(1, len(panels), width=1.8 + 2.7 * len(panels), height=height, squeeze=False)
        for place, (axes, (score, (label, scale))) in enumerate(zip(cells[0], panels.items(), strict=True)):
            rows = Rows(["clean", *names], [by_set(score) for _ in ("clean", *names)], scale)
            draw_rows(axes, found, rows, labelled=place == 0)
            axes.set_xlabel(label)
            if score == "accuracy" and len(classes(found)) == 1:
                named_value(axes, scale / classes(found).pop(), "chance")
            if score in ("retention", "kappa"):
                named_value(axes, 0.0, "chance" if score == "retention" else "independent")
        legend(figure, found)
        heading(figure, f"{images(found)}, each set at its highest strength; intervals: 95 % over images")
    return figure


def reliance(found: Sequence[NetworkLines]) -> Figure | None:
    """Draw what is lost, 1 - retention, over the strength of each suppression with at least two strengths."""
    curves: dict[str, list[int]] = {}
    for place, one in enumerate(found[0].runs[0].meta["versions"]):
        if one["suppresses"]:
            curves.setdefault(one["set"], []).append(place)
    curves = {name: places for name, places in curves.items() if len(places) > 1}
    alike = all(run.meta["versions"] == found[0].runs[0].meta["versions"] for one in found for run in one.runs)
    if not curves or not alike:
        return None
    with styled():
        figure, panels = panel_grid(len(curves), 4, width=2.2, height=2.0, aside=1.6, above=0.5)
        for axes, (name, places) in zip(panels, curves.items(), strict=True):
            strengths = [found[0].runs[0].meta["versions"][place]["strength"] for place in places]
            for network in found:
                lost = 1 - network.values("version_retention")[:, places]
                interval = 1 - network.values("version_retention_interval")[:, places][..., ::-1]
                start = np.zeros((len(lost), 1))
                ends = np.zeros((len(lost), 1, 2))
                x, y = np.array([0.0, *strengths]), np.hstack([start, lost])
                draw(axes, x, network, y, np.concatenate([ends, interval], axis=1))
            named_level(axes, 1.0, "all is lost")
            axes.set(title=name, xlabel="strength")
            axes.set_ylim(top=max(1.25, axes.get_ylim()[1]))
        panels[0].set_ylabel("reliance (1 - retention)")
        legend_beside(panels[min(3, len(curves) - 1)])
        heading(figure, f"{images(found)}; {bands(found)}")
    return figure


def cues(found: Sequence[NetworkLines]) -> Figure | None:
    """Draw the shape share (%) with what belongs beside it, and the sensitivity to each cue alone."""
    runs = [run for network in found for run in network.runs]
    shares = [key for key in SHARES if any(key in run.scalars for run in runs)]
    alone = [key for key in SENSITIVITIES if any(key in run.scalars for run in runs)]
    if not shares and not alone:
        return None
    with styled():
        count = bool(shares) + bool(alone)
        figure, cells = canvas(1, count, width=1.6 + 3.4 * count, height=1.6 + 0.22 * len(found), squeeze=False)
        panels = list(cells[0])
        if shares:
            axes = panels.pop(0)
            draw_rows(axes, found, Rows([SHARES[key] for key in shares], [estimate(key) for key in shares], 100.0))
            named_value(axes, 50.0, "")
            axes.set_xlabel("conflict images (%)")
            axes.set_xlim(0, 100)
        if alone:
            axes = panels.pop(0)
            rows = Rows([SENSITIVITIES[key] for key in alone], [estimate(key) for key in alone])
            draw_rows(axes, found, rows)
            level = {round(run.scalars["sensitivity_chance"], 9) for run in runs if "sensitivity_chance" in run.scalars}
            for value in level:
                named_value(axes, value, "chance")
            axes.set_xlabel("sensitivity (mean reciprocal rank)")
            axes.set_xlim(0, 1)
        legend(figure, found)
        heading(figure, f"{images(found)}; intervals: 95 % over images")
    return figure


def corruptions(found: Sequence[NetworkLines]) -> Figure | None:
    """Draw the mean error (%) under each corruption, over its severities, and their mean."""
    runs = [run for network in found for run in network.runs]
    keys = list(dict.fromkeys(key for run in runs for key in run.scalars if key.startswith("error_")))
    keys += ["mean_error"] * any("mean_error" in run.scalars for run in runs)
    if not keys:
        return None
    names = [key.removeprefix("error_").replace("_", " ") for key in keys]
    with styled():
        figure, axes = canvas(width=6.4, height=1.4 + (0.2 + 0.05 * len(found)) * len(keys))
        draw_rows(axes, found, Rows(names, [estimate(key) for key in keys], 100.0))
        axes.set_xlabel("error (%), mean over severities")
        percent_row_axis(axes)
        legend(figure, found)
        heading(figure, f"{images(found)}; intervals: 95 % over images")
    return figure


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw accuracy (%) on each set over training, from the Results of a ``ProbeCallback`` in order."""
    with styled():
        figure, axes = card(height=3.4)
        names = {"accuracy": "clean"} | {f"accuracy_{name}": name for name in last_versions(results[-1])}
        scalars(axes, results, names, 100)
        chance(axes, {results[-1].meta["classes"]})
        axes.set(ylabel="accuracy (%)", title=f"stress sets, {validation(results)}")
        legend_beside(axes)
    return figure
