"""What every control shares: what it changes in a run, when it is refused, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from kdbias.batch import DataInfo
from kdbias.checks.plan import Plan, describe_network
from kdbias.config.build import build
from kdbias.config.control import TeacherUse
from kdbias.config.errors import Problem
from kdbias.config.spec import Tree
from kdbias.data.base import ImageData
from kdbias.models.features import NetworkInfo
from kdbias.models.teacher import Teacher
from kdbias.modules.choice import module_class

Source = Callable[[Tree], Teacher | None]
"""Gives the teacher that a config names; downloads or trains it first if it is missing."""


class Control(TeacherUse):
    """Takes one thing away from the teacher of a run, so that its effect can be measured; the rest stays the same.

    ``kind`` names the control. ``needs_terms`` says that it works on a loss that is a sum of terms, ``own_weights``
    that it finds the teacher's weights itself. ``TeacherUse`` says what it uses of the config's teacher. Once the
    teacher is built, ``found`` states in plain types what was matched and how well.
    """

    kind: ClassVar[str]
    needs_terms: ClassVar[bool] = False
    own_weights: bool = False
    found: dict[str, Any]

    def __init__(self) -> None:
        self.found = {}

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Give the reasons to refuse this control for a run; the first is a run without a teacher."""
        if not run.has_teacher:
            yield Problem(
                "control", f"{self.kind} changes the teacher, and this run has none: choose an experiment that distils"
            )
        elif self.needs_terms and not module_class(run.tree).sums_terms:
            how = run.tree["module"]["_target_"]
            yield Problem(
                "control", f"{self.kind} works on the terms of loss=[...], and {how} trains by a loss of its own"
            )

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the control's loss and teacher; ``tree`` and what it holds stay as they are."""
        return dict(tree)

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the teacher that answers.

        Args:
            tree: The config that ``changed`` gave; its ``teacher`` becomes that of the one that was found.
            data: The images, prepared.
            source: Gives the teacher that a config names.
        """
        return source(tree)

    def report(self) -> dict[str, Any]:
        """Give what ``result.json`` states about the control."""
        return {"kind": self.kind, **self.found}


def applied(tree: Tree, data: DataInfo) -> tuple[Control | None, dict[str, Any]]:
    """Give the control of a config, None without one, and the config as it changes it, a dict of its own."""
    if tree.get("control") is None:
        return None, dict(tree)
    control: Control = build(tree["control"], group="control")
    return control, control.changed(tree, describe_network(tree["model"], data).info)


def missing_file(key: str, path: str | None) -> Iterator[Problem]:
    """Report a weights file that does not exist."""
    if path is not None and not Path(path).is_file():
        yield Problem(key, f"there is no file {path}: correct the path")
