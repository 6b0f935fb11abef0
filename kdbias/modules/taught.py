"""A method whose training step is no sum of loss terms: it has a teacher, labels, and a loss of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from kdbias.config.errors import ArgumentError
from kdbias.losses.base import needed
from kdbias.models.features import asked
from kdbias.models.teacher import Teacher
from kdbias.modules.supervised import Supervised


class Taught(Supervised):
    """Train a student with a teacher and labels by a loss of the method's own; ``loss=[]``.

    A subclass names in ``needs`` and ``student_needs`` what it reads of teacher and student, in the words of
    ``LossTerm``; with ``hard_target`` in ``needs`` each image needs one class. It makes its parts in ``__init__`` from
    ``self.student.info`` and ``teacher.info`` and refuses there, by an ``ArgumentError``, networks and arguments that
    it cannot work with: the check of a config calls it on networks without weights. ``aligned`` says that it compares
    both networks place by place, so both must see the same geometry.

    Args:
        spec: as for every module.
        teacher: gives the teacher's outputs; it is not part of the module, its checkpoint or its optimiser.

    Raises:
        ArgumentError: there is no teacher, or the student has no classifier.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    student_needs: ClassVar[frozenset[str]] = frozenset()
    aligned: ClassVar[bool] = False
    makes_views: ClassVar[bool] = False  # whether it mirrors and crops the images itself, which augment must not
    teacher: Teacher

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None) -> None:
        super().__init__(spec)
        if teacher is None:
            raise ArgumentError("teacher", takes_a_teacher(type(self)), of="module")
        if self.student.info.classes is None:
            text = f"{type(self).__name__} trains a classifier: leave it out"
            raise ArgumentError("model.classes", text, of="module")
        self.teacher = needed(teacher, "a teacher")
        self.student = asked(self.student, self.student_needs)
        teacher.give(self.needs)


def takes_a_teacher(kind: type[Taught]) -> str:
    """Say that a method needs a teacher, and name the remedy."""
    return f"{kind.__name__} learns from one: set teacher=NAME"
