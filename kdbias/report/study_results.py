"""What the page of a study shows: its groups with their Results, verdicts, teachers, curves and example images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.bias_tables import Transfer
from kdbias.report.bias_transfer import PROBE as BIAS
from kdbias.report.bias_transfer import directions
from kdbias.report.curves import Metrics
from kdbias.report.group import Group
from kdbias.report.judged import Judged
from kdbias.report.page import Code, Example
from kdbias.report.study_level import Level

TEACHER = "teacher "
"""How the names of teachers begin in ``beside`` and ``metrics``."""


def unlike(name: str, taken: Collection[str]) -> str:
    """Give a name, with a number behind it where another network has it.

    >>> unlike("teacher", ["student"]), unlike("teacher", ["teacher", "teacher (2)"])
    ('teacher', 'teacher (3)')
    """
    numbered = (f"{name} ({number})" for number in count(2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


@dataclass(frozen=True)
class StudyResults:
    """All that a page shows.

    ``about`` says in words who is compared; its first paragraph stands under the answers, in which ``*term*`` marks
    where a term is explained. ``judged`` is empty for runs without hypotheses. ``beside`` has, by probe, the Results of
    networks without seeds (untrained, teachers) by name; ``teachers`` by group the Results of its teacher by probe.
    ``figures`` are those of probes, by probe and file name. ``how`` says how the runs were made, ``missing`` what could
    not be measured, ``trained`` what the training of the teachers cost. ``levels`` are the numbers that were judged,
    ``restated`` names hypotheses that were changed after the first result, ``late`` says that results were there when
    the study was recorded first. ``published``, ``setting`` and ``smallest`` are those of `Transfer`. ``metrics`` are
    the training curves of groups and teachers by name, one for each seed. ``examples`` are cue-conflict images with the
    answers of the networks that the study compares.
    """

    title: str
    question: str
    groups: Sequence[Group]
    judged: Sequence[Judged] = ()
    levels: Sequence[Level] = ()
    beside: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)
    teachers: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    how: Sequence[str | Code] = ()
    missing: Sequence[str] = ()
    restated: Sequence[str] = ()
    late: bool = False
    trained: Sequence[Group] = ()
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    setting: str = ""
    smallest: float | None = None
    about: str = ""
    metrics: Mapping[str, Sequence[Metrics]] = field(default_factory=dict)
    examples: Sequence[Example] = ()

    @property
    def transfer(self) -> Transfer | None:
        """What ``probe=bias`` says of the groups; None if it measured none."""
        teachers = {label: of[BIAS] for label, of in self.teachers.items() if BIAS in of and not of[BIAS].refused}
        found = directions(self.groups, teachers)
        return Transfer(found, self.published, self.setting, self.smallest) if found else None

    @property
    def probes(self) -> list[str]:
        """The probes that measured a group, without the test at the end of each run."""
        names = (name for group in self.groups for name in group.results if name != "test")
        return list(dict.fromkeys(names))

    @property
    def done(self) -> int:
        """The number of runs that are done."""
        return sum(len(group.facts) for group in self.groups)

    @property
    def planned(self) -> int:
        """The number of runs that there should be."""
        return sum(group.planned for group in self.groups)

    @property
    def one_seed(self) -> bool:
        """Whether all runs are of the same seed."""
        return len({seed for group in self.groups for seed in group.facts}) == 1

    @property
    def unrepeated(self) -> bool:
        """Whether no group has a second seed, so that nothing shows how much trainings differ."""
        return self.done > 0 and all(len(group.facts) <= 1 for group in self.groups)

    def control_of(self, group: Group) -> Group | None:
        """The group that a group is compared with; None if there is none, or it is the group itself."""
        found = next((one for one in self.groups if one.label == group.control), None)
        return None if found is group else found
