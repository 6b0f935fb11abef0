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
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "not decided")


@dataclass(frozen=True)
class Judged:
    """A hypothesis with its test.

    ``compared`` names the groups, ``direction`` is higher, lower or equal, ``smallest`` the smallest difference that
    matters, ``seeds`` the number of pairs, ``needed`` the number that finds ``smallest``. ``difference`` is corrected
    over the hypotheses of the study. ``could`` is the smallest true difference that these seeds show with a power of .8
    (for equality: the smallest margin), None if they show no noise. ``percent`` measures are shares.
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
        """Whether two groups are shown to be as equal as was stated."""
        return self.direction == "equal" and self.verdict == "supported"

    @property
    def p(self) -> float | None:
        """The corrected p that the verdict rests on: of the t-test, of equality, or of a difference that is too large.

        None without a test: of groups that cannot be compared, or of one seed.
        """
        found = self.difference
        if found.estimate.refused or self.seeds == 1:
            return None
        if self.direction == "equal" and self.verdict == "contradicted":
            return found.larger_p if found.larger_corrected is None else found.larger_corrected
        if self.direction == "equal" or found.equal:
            return found.equal_p if found.equal_corrected is None else found.equal_corrected
        return found.p if found.corrected is None else found.corrected

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
        if verdict == "contradicted" and found.equal and self._on_its_side:
            return "Contradicted, though a smaller difference is shown"
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
            small = ", smaller than what matters" if self.difference.equal and self.direction != "equal" else ""
            return f"{found}{small}, p {written_p(self.p)}"
        return f"{found}{', no interval from one seed' if self.seeds == 1 else ''}; {self.shows}"

    @property
    def shows(self) -> str:
        """Say what these seeds could have shown."""
        if self.could is None:
            return f"{self.needed} seeds could show {self.written(self.smallest)}"
        kind = "equality within" if self.direction == "equal" else "a difference of"
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
            f"{one.verdict} (size not shown)"
            if one.verdict == "supported" and one.size == "not shown"
            else one.verdict,
            one.difference.estimate if one.difference.estimate.refused else one.interval,
            written_p(one.p),
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
        "It is contradicted if one is shown on the other side, or to be smaller than what matters (two one-sided "
        "tests). Equality is supported by the latter, and contradicted by a difference that is shown to be larger than "
        "what matters. Could have been shown: the smallest true difference that these seeds find with a power of .8, "
        "given the spread that they show. Seeds: done, of the number that finds the smallest difference that matters."
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
