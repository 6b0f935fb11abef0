"""Figures of adversarial transfer, with the control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.dots import Panel, dot_panels
from kdbias.report.lines import percent_axis
from kdbias.report.networks import Runs, sample, teachers
from kdbias.report.over_training import scalars, validation
from kdbias.report.style import card, seeds, styled
from kdbias.stats import Estimate, accuracy


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw how often attacks on the teacher fool each network, and how often the rotated perturbation does."""
    some = seeds(next(iter(results.values())), Result)[0].meta
    panels = [
        Panel(f"fooled, PGD of {some['steps']} steps (%)", fooled("pgd_wrong"), 100.0),
        Panel("fooled, FGSM (%)", fooled("fgsm_wrong"), 100.0),
        Panel("fooled, PGD turned by 180° (%)", fooled("turned_wrong"), 100.0),
        Panel("the teacher fooled, PGD (%)", fooled("pgd_teacher_wrong"), 100.0),
    ]
    title = (
        f"Images made against {teachers(results)}, up to {255 * some['epsilon']:.3g}/255 a pixel, {sample(results)},\n"
        "of which those that both get right count, 95 % intervals over these"
    )
    return {"adversarial": dot_panels(results, panels, control=control, initial=initial, title=title)}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw how often one network is fooled over training, from the Results of a ``ProbeCallback`` in order."""
    labels = {"pgd_fooled": "PGD", "fgsm_fooled": "FGSM", "turned_fooled": "PGD turned by 180°"}
    with styled():
        figure, axes = card()
        scalars(axes, results, labels, 100)
        axes.set(ylabel="fooled (%)")
        percent_axis(axes)
        axes.set_title(f"attacks on the teacher;\n{validation(results)}, those both get right")
        axes.legend()
    return figure


def fooled(key: str) -> Callable[[Result], Estimate]:
    """Give a function from a Result to the mean of its array ``key`` over images that both networks get right."""

    def found(run: Result) -> Estimate:
        both = run.arrays["right"] & run.arrays["teacher_right"]
        if not np.any(both):
            return Estimate.refuse("there is no image that both get right")
        return accuracy(run.arrays[key][both])

    return found
