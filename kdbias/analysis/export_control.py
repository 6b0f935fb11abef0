"""Whether a card can say of a network that it is the same student without a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbias import zoo
from kdbias.analysis.control_group import (
    PLAIN,
    READ,
    Candidate,
    differences,
    had_teacher,
    recipe_differences,
    told_apart,
)
from kdbias.analysis.recipe import recipe
from kdbias.config.errors import ConfigError
from kdbias.config.spec import flat, plain
from kdbias.models.checkpoint import Checkpoint
from kdbias.runs import run_folder

KEPT = ("model.", "data.", "optim.", "steps")
"""How the settings begin that a checkpoint keeps of its training, and that a control shares."""
BUILT = "model._target_"
ANSWERS = (READ, "model.inference", "model.classes")
"""Settings of what is read of a network, in which a control may differ."""


def require_control(control: Checkpoint, facts: Mapping[str, Any], student: Checkpoint, path: Path) -> None:
    """Pass a control that is the same network as the student, trained alike, without a teacher.

    ``path`` is how the control was named, ``facts`` is its description. The configs of two run folders are compared; of
    a network without one, what its checkpoint keeps.

    Raises:
        ConfigError: it had a teacher, or smoothed labels in its place; or its network, data or recipe is another.
    """
    teacher, kind = facts["teacher"], facts["control"]
    if teacher is not None:
        what = had_teacher(teacher, kind)
    elif kind not in (None, PLAIN):
        what = f"was trained under control={kind}"
    elif unlike := _unlike(student, control):
        what = f"is not the same student, trained alike: {told_apart(unlike)}"
    else:
        return
    raise ConfigError(f"control_run: {path} {what}: name a run of the same student without a teacher, or none")


def _unlike(student: Checkpoint, control: Checkpoint) -> dict[str, tuple[Any, Any]]:
    """The settings in which they differ, ``{"a.b": (student's, control's)}``."""
    ours, theirs = _recipe(student), _recipe(control)
    if ours is not None and theirs is not None:
        pair = _candidate(ours), _candidate(theirs)
        found = differences(*pair, "model.") | recipe_differences(*pair)
    else:
        found = differences(_candidate(flat(student.spec)), _candidate(flat(control.spec)), *KEPT)
    other = {BUILT: found[BUILT]} if BUILT in found else found  # another builder has other settings
    return {name: values for name, values in other.items() if name not in ANSWERS}


def _recipe(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The recipe of a checkpoint's run; None of a network without its run folder, as an exported one is anywhere."""
    folder = checkpoint.path.parent.parent
    if zoo.entry(checkpoint.path) or not (folder / run_folder.CONFIG).is_file():
        return None
    return recipe(plain(run_folder.saved_config(folder)))


def _candidate(settings: Mapping[str, Any]) -> Candidate:
    return Candidate("", settings, taught=True, seeds=frozenset())
