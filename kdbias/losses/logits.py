"""Which logits a term reads, with an error that says what to do if they are missing."""

from __future__ import annotations

from torch import Tensor

from kdbias.losses.base import needed
from kdbias.models.features import Features


def student_logits(student: Features) -> Tensor:
    """Give the logits that a teacher trains, ``(B, C)``: the DIST head's if there is one, else the network's answer.

    Raises:
        ValueError: the student has no classifier.
    """
    if student.distill_logits is not None:
        return student.distill_logits
    return needed(student.logits, "a student with a classifier")


def teacher_logits(teacher: Features | None) -> Tensor:
    """Give the teacher's logits, ``(B, C)``.

    Raises:
        ValueError: there is no teacher, or it has no classifier (a self-supervised one).
    """
    return needed(None if teacher is None else teacher.logits, "a teacher with logits")
