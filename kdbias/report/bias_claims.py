"""Which claims of the earlier report stand: its differences from its control, beside those of the same methods here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdbias.report.bias_tables import Transfer
from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Difference

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
    """

    group: str
    control: str
    name: str
    published: float
    here: Difference

    @property
    def says(self) -> str:
        """The claim: higher, lower or equal."""
        if abs(self.published) <= WITHIN:
            return "equal"
        return "higher" if self.published > 0 else "lower"

    @property
    def verdict(self) -> Verdict:
        """Give what the seeds here say of it.

        A direction stands if the difference is shown on its side, and falls if it is shown on the other side or to be
        smaller than what matters. Equality stands if it is shown, and falls if a difference is shown.
        """
        here = self.here
        if here.estimate.refused or not (here.shown or here.equal):
            return "not decided"
        if here.equal:
            return "stands" if self.says == "equal" else "falls"
        shown = "higher" if here.estimate.value > 0 else "lower"
        return "stands" if self.says == shown else "falls"


def claims(found: Transfer) -> list[Claim]:
    """Give the claims on the methods and sets of a page; none of methods or controls that the report does not have."""
    return [
        Claim(label, control, name, found.published[label][name] - found.published[control][name], here)
        for label, control, own in found.compared()
        if label in found.published and control in found.published
        for name, here in own.items()
        if name in found.published[label]
    ]


def claims_table(found: Transfer) -> Table:
    """Give a row for each claim: the published difference, ours, and the verdict."""
    rows: list[list[Cell]] = [
        [
            one.group,
            one.name,
            f"{one.published:+.3f}",
            one.says,
            one.here.estimate if one.here.estimate.refused else one.here,
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
        f"stands or falls where that is shown after Holm. {equal}"
    )
    heads = ("group", "set", "published", "claim", "here", "verdict")
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
