"""A hypothesis that was stated in advance, and what the seeds say of it: supported, contradicted, or not decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from kdbias.report.estimate_text import format_estimate
from kdbias.report.forest import Measure as Panel
from kdbias.report.forest import forest
from kdbias.report.page import Answer, Answers
from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Difference, Estimate

Verdict = Literal["supported", "contradicted", "not decided"]
DIFFERENCE, EQUALITY, TOO_LARGE = "difference", "equality", "too large a difference"  # what a test shows
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "not decided")


@dataclass(frozen=True)
class Judged:
    """A hypothesis with its test.

    ``compared`` names the groups, ``direction`` is higher, lower or equal, ``smallest`` the smallest difference that
    matters, ``seeds`` the number of pairs, ``needed`` the number that finds ``smallest``. ``difference`` is corrected
    over the hypotheses of the study. ``could`` is the smallest true difference that these seeds show with a power of .8
    (for equality: the smallest margin), None if they show no noise. ``percent`` measures are shares. ``sd`` is the
    standard deviation that the study assumed for ``needed``.
    """

    name: str
    says: str
    measure: str
    compared: str
    direction: str
    smallest: float
    needed: int
    seeds: int
    difference: Difference
    could: float | None
    percent: bool = False
    sd: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Give the verdict.

        A direction is supported if the difference is shown on its side, and not shown to be smaller than what matters.
        It is contradicted if the difference is shown on the other side, or to be smaller than what matters. Equality is
        supported if the difference is shown to be smaller than what matters, and contradicted if it is shown to be
        larger.
        """
        found = self.difference
        if self.direction == "equal":
            return "supported" if found.equal else "contradicted" if found.larger else "not decided"
        if found.equal:
            return "contradicted"
        if not found.shown:
            return "not decided"
        return "supported" if self._on_its_side else "contradicted"

    @property
    def alike(self) -> bool:
        """Whether two groups are shown to be as equal as was stated, and no difference between them is shown."""
        return self.direction == "equal" and self.verdict == "supported" and not self.difference.shown

    @property
    def in_size(self) -> bool:
        """Whether a direction is contradicted by the difference's size alone: it is shown to be less than matters."""
        found = self.difference
        return self.direction != "equal" and found.equal and (not found.shown or self._on_its_side)

    @property
    def p(self) -> float | None:
        """The corrected p that the verdict rests on: of the t-test, of equality, or of a difference that is too large.

        None without a test: of groups that cannot be compared, of one seed, or of seeds that all gave the same.
        """
        found = self.difference
        if self.untested:
            return None
        if self.test == TOO_LARGE:
            return found.larger_p if found.larger_corrected is None else found.larger_corrected
        if self.test == EQUALITY:
            return found.equal_p if found.equal_corrected is None else found.equal_corrected
        return found.p if found.corrected is None else found.corrected

    @property
    def test(self) -> str:
        """What ``p`` is the p of: ``difference``, ``equality`` or ``too large a difference``."""
        if self.direction == "equal" and self.verdict == "contradicted":
            return TOO_LARGE
        return EQUALITY if self.direction == "equal" or self.difference.equal else DIFFERENCE

    @property
    def untested(self) -> bool:
        """Whether nothing was tested: no numbers, one seed, or seeds that all gave the same."""
        return math.isnan(self.difference.estimate.low)

    def written(self, value: float, *, sign: bool = False) -> str:
        """Write a number of this measure: points for shares, else its own unit."""
        return f"{value * self._scale:{'+' if sign else ''}.{self._digits}f}{' points' if self.percent else ''}"

    @property
    def interval(self) -> str:
        """The difference with its interval, or why there is none."""
        found = self.difference.estimate
        if found.refused:
            return found.reason
        shown = format_estimate(found, self._scale, self._digits)
        return f"{'+' if found.value > 0 else ''}{shown}{' points' if self.percent else ''}"

    @property
    def sentence(self) -> str:
        """Say the verdict in one sentence, with the numbers that it rests on."""
        return f"{self.heading}: {self.says.rstrip('.')} ({self.evidence})."

    @property
    def heading(self) -> str:
        """The verdict, with the number of seeds that did not decide it, and what is shown of the difference's size."""
        found, verdict = self.difference, self.verdict
        if verdict == "not decided" and not found.estimate.refused:
            shown = ", though a difference is shown" if self.direction == "equal" and found.shown else ""
            return f"Not decided at {self.seeds} seed{'s' * (self.seeds != 1)}{shown}"
        if self.in_size:
            return f"Contradicted in size{', though a smaller difference is shown' if found.shown else ''}"
        if verdict == "supported" and self.direction == "equal" and found.shown:
            return "Supported, though a smaller difference is shown"
        if verdict == "supported" and self.size == "not shown":
            return "Supported, but not shown to be as large as what matters"
        return verdict.capitalize()

    @property
    def size(self) -> str:
        """What is shown of the difference's size, against the smallest that matters: larger, smaller, or not shown."""
        return "larger" if self.difference.larger else "smaller" if self.difference.equal else "not shown"

    @property
    def evidence(self) -> str:
        """The numbers that the verdict rests on: the difference with its interval, and p or what it would take."""
        if self.difference.estimate.refused:
            return self.interval
        found = f"{self.compared}: {self.interval}"
        if self.verdict != "not decided":
            matters = self.written(self.smallest)
            least = f", within ±{matters}" if self.direction == "equal" else f", smaller than the {matters} that matter"
            small = least if self.difference.equal else ""
            return f"{found}{small}, p {'' if self.test == DIFFERENCE else f'of {self.test} '}{written_p(self.p)}"
        lacking = f", {'no interval from one seed' if self.seeds == 1 else self.difference.estimate.reason}"
        return f"{found}{lacking if self.untested else ''}; {self.shows}"

    @property
    def shows(self) -> str:
        """Say what these seeds could have shown."""
        kind = "equality within" if self.direction == "equal" else "a difference of"
        if self.could is None:
            assumed = "" if self.sd is None else f" at the assumed standard deviation of {self.written(self.sd)}"
            return f"{self.needed} seeds could show {kind} {self.written(self.smallest)}{assumed}"
        return f"these seeds could have shown {kind} {self.written(self.could)}"

    @property
    def _on_its_side(self) -> bool:
        """Whether a difference is shown in the direction that the hypothesis states."""
        found = self.difference
        stated = self.direction != "equal" and (found.estimate.value > 0) == (self.direction == "higher")
        return found.shown and stated

    @property
    def _scale(self) -> float:
        return 100.0 if self.percent else 1.0

    @property
    def _digits(self) -> int:
        return max(0, 1 - math.floor(math.log10(self.smallest * self._scale)))


def answers(found: Sequence[Judged]) -> Answers:
    """Give the verdict of each hypothesis, for the top of a page."""
    return Answers([Answer(one.verdict, one.heading, one.says, one.evidence) for one in found])


def verdict_table(found: Sequence[Judged]) -> Table:
    """Give a row for each hypothesis: verdict, difference, and what these seeds could have shown."""
    rows: list[list[Cell]] = [
        [
            one.name,
            one.compared,
            _in_table(one),
            one.difference.estimate if one.difference.estimate.refused else one.interval,
            written_p(one.p) + ("" if one.p is None or one.test == DIFFERENCE else f" ({one.test})"),
            ("within ±" if one.direction == "equal" else "") + one.written(one.smallest),
            "-" if one.could is None else one.written(one.could),
            f"{one.seeds} of {one.needed}",
        ]
        for one in found
    ]
    heads = (
        "hypothesis",
        "compared",
        "verdict",
        "difference",
        "p after Holm",
        "smallest that matters",
        "could have been shown",
    )
    note = (
        f"Paired by seed. Intervals: 95 %, Student's over seeds, not corrected. p is corrected over the {len(found)} "
        "hypotheses (Holm), each kind of test by itself. A direction is supported if a difference is shown on its side "
        "(paired t-test), and not shown to be smaller than what matters. Size not shown: nor to be larger than that. "
        "It is contradicted if one is shown on the other side. It is contradicted in size if it is shown to be smaller "
        "than what matters (equality: two one-sided tests), whatever its side. Equality is supported by these, and "
        "contradicted by a difference that is shown to be larger than what matters. Could have been shown: the "
        "smallest true difference that these seeds find with a power of .8, given the spread that they show. Seeds: "
        "done, of the number that finds the smallest difference that matters at the standard deviation that the study "
        "assumed."
    )
    return Table("Hypotheses", [*map(Column, (*heads, "seeds"))], rows, note)


def verdict_csv(found: Sequence[Judged]) -> str:
    """Give the verdicts as CSV, in full precision and the units of the measures."""
    rows: list[list[Cell]] = [
        [
            one.name,
            one.verdict,
            one.measure,
            one.compared,
            one.direction,
            one.difference,
            one.size,
            "-" if one.p is None else one.p,
            one.smallest,
            "-" if one.could is None else one.could,
            one.seeds,
            one.needed,
        ]
        for one in found
    ]
    heads = ("hypothesis", "verdict", "measure", "compared", "direction", "difference", "size", "p of the verdict")
    ends = ("smallest that matters", "could have been shown", "seeds", "seeds needed")
    return Table("", list(map(Column, (*heads, *ends))), rows).csv()


def verdict_figure(found: Sequence[Judged]) -> Figure | None:
    """Draw the difference of each hypothesis, in units of the smallest that matters; None if there is no number."""
    rows = {one.name: [_in_units(one)] for one in found}
    if all(estimates[0].refused for estimates in rows.values()):
        return None
    panel = Panel("difference / smallest that matters", references=(-1.0, 0.0, 1.0))
    return forest({"difference, 95 % over seeds": rows}, [panel])


def _in_table(one: Judged) -> str:
    """The verdict, with what is said of the size."""
    if one.verdict == "supported" and one.size == "not shown":
        return f"{one.verdict} (size not shown)"
    return f"{one.verdict} in size" if one.in_size else one.verdict


def written_p(p: float | None) -> str:
    """Write a p value; ``-`` without one."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _in_units(one: Judged) -> Estimate:
    found = one.difference.estimate
    if found.refused:
        return found
    unit = one.smallest
    return Estimate(found.value / unit, found.low / unit, found.high / unit, found.reason)
