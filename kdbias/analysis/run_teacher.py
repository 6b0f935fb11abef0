"""The teacher of a finished run, found by the run's saved config; nothing is trained for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kdbias import zoo
from kdbias.batch import DataInfo
from kdbias.config.build import target
from kdbias.config.conf import conf_dir
from kdbias.config.spec import Tree
from kdbias.files import digest, printable
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.teacher import Teacher, ready_teacher, teacher_from_weights
from kdbias.runs import run_folder
from kdbias.runs.teacher_recipe import recipe

UNKEPT = ("random", "label_smoothing")


@dataclass(frozen=True)
class Lack:
    """Why the teacher of a network is not available, in words; ``had_one`` is False if no teacher taught it."""

    reason: str
    had_one: bool = True

    def __str__(self) -> str:
        return self.reason


NO_TEACHER = Lack("it had no teacher", had_one=False)


@dataclass(frozen=True)
class RunTeacher:
    """How the teacher of a run is built; nothing is read before the teacher is needed.

    ``spec`` describes its network, ``info`` the data that it answers on, ``path`` its weights (None if its builder
    provides them). ``note`` is a remark for users of the teacher.
    """

    name: str
    spec: Mapping[str, Any]
    info: DataInfo
    path: Path | None
    note: str = ""

    @cached_property
    def identity(self) -> str:
        """Give its identity among all teachers: its network and the SHA-256 of its weights."""
        content = "ready" if self.path is None else digest(self.path)
        return json.dumps({"spec": dict(self.spec), "weights": content}, sort_keys=True)

    @cached_property
    def teacher(self) -> Teacher:
        """Load it, once."""
        if self.path is None:
            return ready_teacher(self.spec, self.info, self.name)
        return teacher_from_weights(self.spec, self.info, self.path, self.name)


def teacher_of(tree: Tree, info: DataInfo, teachers: Path, used: Tree | None = None) -> RunTeacher | Lack:
    """Give the teacher that a run's saved config names, or why there is none.

    The teacher is the weights file that the config names, or the run of its recipe in the run's own folder of teachers
    or in ``teachers``. For a run under a control, it is the teacher that the control chose, with its own recipe; the
    checkpoint's description (``used``) has this recipe.
    """
    node = tree.get("teacher")
    if tree.get("control") is not None:
        kind = target(tree["control"], "control").kind
        if kind in UNKEPT:
            return Lack(f"under control={kind} no network taught it whose weights are kept")
        node = used or None
    if node is None or node.get("name") is None:
        return NO_TEACHER
    name, spec = node["name"], {**node["model"], "layers": node.get("layers", "all")}
    if node.get("weights") is not None:
        path = Path(str(node["weights"]))
        if not path.is_file():
            return Lack(f"the weights of its teacher {name} are no longer at {path}")
        return RunTeacher(name, spec, info, path)
    if node.get("recipe") is None:
        return RunTeacher(name, spec, info, None)
    places = [Path(str(tree["paths"]["teachers"])), teachers] if tree.get("paths") else [teachers]
    found = [place for place in dict.fromkeys(place.absolute() for place in places) if place.is_dir()]
    return _trained({**tree, "teacher": node}, spec, info, found or [places[0].absolute()])


def zoo_teacher(shipped: Mapping[str, Any], info: DataInfo, student: Path) -> RunTeacher | Lack:
    """Give the teacher of the network of the zoo at ``student``, which lies beside it, unless it was exported."""
    if shipped["teacher"] is None:
        return NO_TEACHER
    if zoo.is_exported(student):
        return Lack(f"its teacher {printable(shipped['teacher'])} was not exported with it")
    path = zoo.file_of(shipped["teacher"])
    return RunTeacher(shipped["teacher"], Checkpoint(path).spec["model"], info, path)


def _trained(tree: Tree, spec: Mapping[str, Any], info: DataInfo, places: list[Path]) -> RunTeacher | Lack:
    """The teacher that a recipe left in one of ``places``: by its hash, or else the only one of its name and data."""
    name, data, reason = tree["teacher"]["name"], tree["chosen"]["data"], "not trained yet"
    for place in places:
        try:
            with composing():
                known = recipe(tree, place, "train")
            if known.done:
                return RunTeacher(name, spec, info, known.folder / run_folder.BEST)
        except (HydraException, OmegaConfBaseException, KeyError) as error:
            reason = f"its recipe does not compose any more: {str(error).splitlines()[0]}"
    others = [
        folder for place in places for folder in sorted(place.glob(f"{name}-{data}-*")) if run_folder.is_whole(folder)
    ]
    if len(others) == 1:
        note = f"the recipe of {name} has changed since; taking the only one there is, {others[0]}"
        return RunTeacher(name, spec, info, others[0] / run_folder.BEST, note)
    several = f"; there are {', '.join(folder.name for folder in others)}, of other recipes" if others else ""
    return Lack(f"its teacher {name} on {data} is not under {places[0]} ({reason}{several})")


@contextmanager
def composing() -> Iterator[None]:
    """Let configs be composed inside the block, also outside of a command."""
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            yield
