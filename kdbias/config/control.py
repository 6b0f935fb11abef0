"""How the control of a config uses its teachers: the class that ``control._target_`` names says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from kdbias.config.build import class_named


class TeacherUse:
    """How a run uses teachers. The values here are those of a run without a control; a control's class may change them.

    ``uses_teacher`` says that the run uses the network that the config's teacher names. ``uses_teacher_weights`` says
    that it uses what this network has learnt. A run that does not use the network still uses the teacher's settings in
    ``keeps_of_teacher``. ``answers_kept`` says that ``teacher.cache`` keeps answers; where it is false, the cache
    decides the draws of the images alone.
    """

    uses_teacher: ClassVar[bool] = True
    uses_teacher_weights: ClassVar[bool] = True
    keeps_of_teacher: ClassVar[tuple[str, ...]] = ()
    answers_kept: ClassVar[bool] = True

    @classmethod
    def teachers_named(cls, control: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Give the teachers that the control's settings name by their configs, each with its weights or None."""
        return iter(())

    @classmethod
    def weights_by_seed(cls, control: Mapping[str, Any]) -> bool:
        """Whether, with these settings of the control, runs of two seeds have teachers of different weights."""
        return False


def teacher_use(tree: Mapping[str, Any]) -> type[TeacherUse]:
    """Load and give the class of a config's control; give ``TeacherUse`` itself if there is none or none is known."""
    return class_named(tree.get("control"), "control", TeacherUse) or TeacherUse
