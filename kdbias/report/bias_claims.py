"""Which claims of the earlier report stand: its differences from its control, beside those of the same methods here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import scipy

from kdbias.report.bias_tables import Transfer
from kdbias.report.bias_transfer import answered
from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Difference, holm
from kdbias.stats.comparison import SHOWN_P

Verdict = Literal["stands", "falls", "not decided"]
VERDICTS: tuple[Verdict, ...] = ("stands", "falls", "not decided")
WITHIN = 0.03
"""A published difference of this size or less is a claim of no difference.

The earlier report has one seed and 10,000 images: two standard errors of a difference of two ratios are up to .028
where the clean accuracies are above .5.
"""


@dataclass(frozen=True)
class Claim:
    """One claim: a method's ratio on a set is higher than, lower than or equal to that of its control.

    ``published`` is the difference that the earlier report gives, ``here`` that of the retention of the same method.
    ``half_p`` is the p value, after Holm, of the test that the difference here is half of the published one or more.
    """

    group: str
    control: str
    name: str
    published: float
    here: Difference
    half_p: float = 1.0

    @property
    def says(self) -> str:
        """The claim: higher, lower or equal."""
        if abs(self.published) <= WITHIN:
            return "equal"
        return "higher" if self.published > 0 else "lower"

    @property
    def verdict(self) -> Verdict:
        """Give what the seeds here say of it.

        A direction stands if the difference is shown on its side. It falls if it is shown on the other side, to be
        smaller than what matters, or, where no side is shown, to be less than half of the published one. Equality
        stands if it is shown, and falls if a difference is shown.
        """
        here = self.here
        if here.estimate.refused:
            return "not decided"
        if self.says == "equal":
            return "stands" if here.equal else "falls" if here.shown else "not decided"
        if here.shown and not here.equal:
            return "stands" if self.says == ("higher" if here.estimate.value > 0 else "lower") else "falls"
        return "falls" if here.equal or self.half_p < SHOWN_P else "not decided"


def claims(found: Transfer) -> list[Claim]:
    """Give the claims on the methods and sets of a page; none of methods or controls that the report does not have."""
    groups = [group for way in found.directions for group in (*way.methods, way.control) if group is not None]
    seeds = {group.label: answered(group).keys() for group in groups}
    made: list[Claim] = []
    for label, control, own in found.compared():
        if label not in found.published or control not in found.published:
            continue
        ours, theirs = found.published[label], found.published[control]
        published = {name: ours[name] - theirs[name] for name in own if name in ours}
        n = len(seeds[label] & seeds[control])
        # A set that was not published counts in the correction all the same, as it does in that of the difference.
        p = holm([_half_p(own[name], published.get(name, 0.0), n) for name in own])
        half = dict(zip(own, p, strict=True))
        made += [Claim(label, control, name, size, own[name], float(half[name])) for name, size in published.items()]
    return made


def _half_p(here: Difference, published: float, n: int) -> float:
    """P of the one-sided t-test over ``n`` seeds that the difference is at least half of a published one.

    1 for a claim of no difference, and where the seeds show no noise.
    """
    estimate = here.estimate
    width = (estimate.high - estimate.low) / 2
    if abs(published) <= WITHIN or n < 2 or estimate.refused or not (math.isfinite(width) and width > 0):
        return 1.0
    error = width / scipy.stats.t.ppf(0.975, n - 1)
    return float(scipy.stats.t.sf((abs(published) / 2 - math.copysign(1, published) * estimate.value) / error, n - 1))


def claims_table(found: Transfer) -> Table:
    """Give a row for each claim: the published difference, ours, and the verdict."""
    rows: list[list[Cell]] = [
        [
            one.group,
            one.name,
            f"{one.published:+.3f}",
            one.says,
            one.here.estimate if one.here.estimate.refused else one.here,
            "-" if one.says == "equal" else "<0.001" if one.half_p < 0.001 else f"{one.half_p:.3f}",
            one.verdict,
        ]
        for one in claims(found)
    ]
    equal = (
        "Without effect=, none can be shown to be equal."
        if found.smallest is None
        else f"Equal: within ±{found.smallest:g}, by two one-sided tests."
    )
    note = (
        f"Published: ratio of the method - that of its control, {found.setting}; a difference of up to {WITHIN:g} is "
        "a claim of no difference. Here: retention - that of the control, as in the table of differences. A claim "
        "stands or falls where that is shown after Holm. A direction that is not shown falls where the difference is "
        "shown to be less than half of the published one: p is that of a one-sided t-test, after Holm over the sets of "
        "a row. "
        f"{equal}"
    )
    heads = ("group", "set", "published", "claim", "here", "p of half or more", "verdict")
    return Table("Claims of the earlier report", [Column(head) for head in heads], rows, note, corrected=True)


def tally(found: Sequence[Claim]) -> str:
    """Say in a sentence how many claims stand, fall and are open, and why all are, if so; empty without claims."""
    if not found:
        return ""
    count = Counter(one.verdict for one in found)
    parts = ", ".join(f"{count[verdict]} {_number(verdict, count[verdict])}" for verdict in VERDICTS)
    reasons = {one.here.estimate.reason for one in found}
    why = f" ({reasons.pop()})" if len(reasons) == 1 and "" not in reasons else ""
    return f"{len(found)} claims of the earlier report on these methods and sets: {parts}{why}."


def _number(verdict: Verdict, count: int) -> str:
    plural = {"stands": "stand", "falls": "fall", "not decided": "are not decided"}
    return plural[verdict] if count != 1 else verdict if verdict != "not decided" else "is not decided"
