"""Figures of agreement with a teacher, with the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.config.build import builder
from kdbias.probes.base import Result
from kdbias.report.dots import Panel, dot_panels
from kdbias.report.lines import percent_axis
from kdbias.report.networks import Runs, sample, teachers
from kdbias.report.over_training import scalars, validation
from kdbias.report.style import REFERENCE, card, styled
from kdbias.stats import Estimate, accuracy, bootstrap_mean, ratio
from kdbias.stats.bootstrap import Floats, interval, resampled_means

RESAMPLES = 2_000


def figures(
    results: Mapping[str, Runs], *, control: str | None = None, initial: str | None = None
) -> dict[str, Figure]:
    """Draw agreement, its share on the teacher's errors, error consistency, divergence and transfer efficiency."""
    panels = [
        Panel("same answer as\nthe teacher (%)", lambda run: accuracy(run.arrays["agree"]), 100.0),
        Panel("same wrong answer,\nof the teacher's errors (%)", same_error, 100.0),
        Panel("error consistency κ", kappa, references={"independent": 0.0}),
        Panel("KL(teacher ‖ network) (nats)", lambda run: bootstrap_mean(run.arrays["kl"], RESAMPLES)),
        Panel("transfer efficiency\n(accuracy / teacher's)", efficiency),
    ]
    title = f"Agreement with {teachers(results)}, {sample(results)}, 95 % intervals over images"
    return {"agreement": dot_panels(results, panels, control=control, initial=initial, title=title)}


@builder("figure")
def training(results: Sequence[Result]) -> Figure:
    """Draw one network's agreement with its teacher over training, from the Results of a ``ProbeCallback`` in order."""
    labels = {"agreement": "same answer", "accuracy": "right answer"}
    with styled():
        figure, (upper, lower) = card(2, height=2.5)
        scalars(upper, results, labels, 100)
        upper.set(ylabel="share of images (%)", title=validation(results))
        percent_axis(upper)
        upper.legend()
        lower.axhline(0, **REFERENCE)
        scalars(lower, results, {"kappa": "error consistency"}, first=2)
        lower.set(ylabel="error consistency κ")
    return figure


def same_error(run: Result) -> Estimate:
    """Give the share of the teacher's errors on which the network gives the same wrong answer."""
    wrong = ~run.arrays["teacher_right"]
    if not wrong.any():
        return Estimate.refuse("the teacher makes no error on these images")
    return accuracy(run.arrays["agree"][wrong])


def kappa(run: Result, resamples: int = RESAMPLES) -> Estimate:
    """Give the error consistency with its bootstrap interval over images; refused if it is not defined."""
    own, theirs = run.arrays["right"], run.arrays["teacher_right"]
    rows = np.column_stack([own, theirs, own == theirs]).astype(np.float64)
    value = _kappa(rows.mean(axis=0, keepdims=True))
    if np.isnan(value).any():
        return Estimate.refuse("both are always right, or both always wrong")
    draws = _kappa(resampled_means(rows, resamples))
    return interval(float(value[0]), np.where(np.isnan(draws), value[0], draws), len(rows))


def efficiency(run: Result) -> Estimate:
    """Give the network's accuracy divided by the teacher's, with its interval over images."""
    return ratio(run.arrays["right"], run.arrays["teacher_right"], int(run.meta["classes"]))


def _kappa(means: Floats) -> Floats:
    """Compute error consistency from rows of (accuracy, the other's accuracy, share of equal outcomes)."""
    p, q, observed = means.T
    expected = p * q + (1 - p) * (1 - q)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(expected == 1, np.nan, (observed - expected) / (1 - expected))
    return found
