"""Sentences about a comparison that claim no more than its intervals show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbias.probes.base import Result
from kdbias.stats import Estimate, difference, image_noise, transfer_index, transfer_index_images

Shown = Literal["recipe", "networks", "nothing", "refused"]


@dataclass(frozen=True)
class Finding:
    """A difference or index with two kinds of interval, each to be compared with 0.

    ``seeds`` has an interval over seeds. ``images`` has, for each seed, one over the images on which the networks of
    that seed are compared. ``value`` is the estimate.
    """

    seeds: Estimate
    images: tuple[Estimate, ...]
    value: float

    @property
    def shown(self) -> Shown:
        """For what a difference from 0 is shown.

        It is shown for these ``networks`` if the interval over images excludes 0 on the same side for every seed, and
        for the ``recipe`` if the interval over seeds excludes 0 too. Otherwise it is ``nothing``, or ``refused`` if
        there is no number.
        """
        if all(each.low > 0 for each in self.images) or all(each.high < 0 for each in self.images):
            return "networks" if self.seeds.holds(0.0) else "recipe"
        return "refused" if all(each.refused for each in self.images) else "nothing"

    @property
    def reason(self) -> str:
        """The first reason for which an estimate is refused; empty if none is."""
        return next((each.reason for each in (*self.images, self.seeds) if each.refused), "")


def index(student: Sequence[Result], control: Sequence[Result], teacher: Result) -> Finding:
    """Give the transfer index of the shape share, from Results of a ``CueProbe`` on the same images, one per seed."""

    def shares(results: Sequence[Result]) -> list[float]:
        return [result.scalars["shape_share"] for result in results]

    def pairs(result: Result) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.column_stack([result.arrays["by_shape"], result.arrays["decided"]]).astype(np.float64)

    seeds = transfer_index(shares(student), shares(control), shares([teacher]))
    images = tuple(
        transfer_index_images(pairs(one), pairs(other), pairs(teacher))
        for one, other in zip(student, control, strict=True)
    )
    mean, base = np.mean(shares(student)), np.mean(shares(control))
    gap = shares([teacher])[0] - base
    return Finding(seeds, images, float((mean - base) / gap) if gap else float("nan"))


def gain(student: Sequence[Result], control: Sequence[Result], key: str = "right") -> Finding:
    """Give student - control of the share of right answers (array ``key`` of Results on the same images)."""
    rights = [(one.arrays[key], other.arrays[key]) for one, other in zip(student, control, strict=True)]
    means = np.array([[one.mean(), other.mean()] for one, other in rights])
    images = tuple(difference(one, other, over="images").estimate for one, other in rights)
    noise = image_noise(*(np.array(side, dtype=np.float64) for side in zip(*rights, strict=True)))
    return Finding(
        difference(means[:, 0], means[:, 1], noise=noise).estimate, images, float((means[:, 0] - means[:, 1]).mean())
    )


def inherited(found: Finding, shares: tuple[float, float, float]) -> str:
    """Say how much of the teacher's preference was inherited.

    ``shares`` are the shape shares (0 to 1) of student, control and teacher. The preference is named by the side of the
    control that the teacher is on.
    """
    numbers = decisions(shares)
    cue = "texture" if shares[2] < shares[1] else "shape"
    if found.shown == "refused":
        return f"Whether a preference was inherited cannot be said: {found.reason}. {numbers}"
    text = f"{found.value:.2f}"
    if found.shown == "nothing":
        return (
            f"No difference shown: whether the student inherited any of its teacher's preference for {cue} is open "
            f"(transfer index {text}; {_noise(found)}). {numbers}"
        )
    side = (
        f"took over {100 * found.value:.0f} % of its teacher's preference for {cue}"
        if found.value > 0
        else f"moved away from its teacher's preference for {cue}"
    )
    return f"The student {side} (transfer index {text}; {_noise(found)}). {numbers}"


def within_noise(found: Finding) -> str:
    """Say that nothing is shown of a transfer index, or nothing of other seeds; empty if it is shown for the recipe.

    It is empty too for networks of one seed, which have no interval over seeds.
    """
    if found.shown == "refused":
        return f"not compared, {found.reason}"
    if found.shown == "nothing" or (found.shown == "networks" and not found.seeds.refused):
        what = "shown" if found.shown == "nothing" else "shown for other seeds"
        return f"no difference {what} (transfer index {found.value:.2f}; {_noise(found)})"
    return ""


def decisions(shares: tuple[float, float, float]) -> str:
    """Say what student, control and teacher go by; ``shares`` are their shape shares (0 to 1)."""
    student, control, teacher = (f"{100 * each:.0f} %" for each in shares)
    return (
        f"Where shape and texture disagree, the student decides for the shape in {student} of its decisions, "
        f"the control without a teacher in {control}, the teacher in {teacher}."
    )


def cost(found: Finding, accuracies: tuple[float, float]) -> str:
    """Say what it cost in accuracy on images whose cues agree.

    ``accuracies`` are those (0 to 1) of student and control.
    """
    student, control = (f"{100 * each:.1f} %" for each in accuracies)
    against = f"{student} against the control's {control}; {_noise(found, 100, 1)}"
    points = f"{100 * abs(found.value):.1f} points of accuracy"
    if found.shown in ("nothing", "refused"):
        return f"A cost in accuracy was not shown, nor a gain ({against})."
    return f"It {'cost' if found.value < 0 else 'gained'} {points} ({against})."


def _noise(found: Finding, scale: float = 1.0, digits: int = 2) -> str:
    """Write the intervals that decide, and say what they are over."""

    def written(estimate: Estimate) -> str:
        return f"[{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"

    count = len(found.images)
    over_images = ", ".join(written(each) for each in found.images if not each.refused)
    if found.shown == "recipe":
        return f"95 % interval over {count} seeds {written(found.seeds)}"
    no_interval = found.seeds.reason != ""
    seeds = f"over {count} seeds {written(found.seeds)}"
    if no_interval:
        seeds = f"{'one seed says' if count == 1 else f'{count} seeds say'} nothing of other seeds"
    if found.shown == "networks":
        held = seeds if no_interval else f"{seeds} holds 0, so that other seeds may differ"
        return f"95 % interval over images {over_images}; {held}"
    return f"95 % interval over images {over_images}; {seeds}" if over_images else seeds
