"""What the control of a config makes of its teachers: asked of the class that ``control._target_`` names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from hydra.errors import HydraException

from kdbias.config.build import target


class TeacherUse:
    """What a run makes of teachers; as it stands, the use of a run without control. A control's class says otherwise.

    ``uses_teacher`` says that it uses the network that the config's teacher names, ``uses_teacher_weights`` that it
    uses what this network has learnt. Where it does not use the network, it uses the settings ``keeps_of_teacher``.
    """

    uses_teacher: ClassVar[bool] = True
    uses_teacher_weights: ClassVar[bool] = True
    keeps_of_teacher: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def teachers_named(cls, control: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Give the teachers that the control's settings name by their configs, each with its weights or None."""
        return iter(())


def teacher_use(tree: Mapping[str, Any]) -> type[TeacherUse]:
    """Give the class of a config's control, loaded where there is one; ``TeacherUse`` itself where none is known."""
    control = tree.get("control")
    if isinstance(control, Mapping) and "_target_" in control:
        try:
            found = target(control, "control")
        except (ImportError, ValueError, HydraException):  # the check of targets says so
            return TeacherUse
        if inspect.isclass(found) and issubclass(found, TeacherUse):
            return found
    return TeacherUse
