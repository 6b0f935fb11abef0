"""Trains a missing teacher once, by its recipe, before its first student; every later run finds it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from kdbias.config.build import build
from kdbias.config.conf import expand_paths
from kdbias.config.errors import RunStopped
from kdbias.config.overrides import key_of, sets
from kdbias.config.spec import Tree, flat, plain, spec_hash
from kdbias.config.stress_names import KEYS
from kdbias.runs import failure, run_folder
from kdbias.runs.pretrained import settled
from kdbias.runs.sweep import LOG, single_run
from kdbias.runs.sweep_progress import Watch

READING = ("layers", "dense", "qkv")  # what a run reads from a network; the network's training does not depend on it


@dataclass(frozen=True)
class Recipe:
    """How a teacher is trained: the overrides of its command line, its run folder, its spec hash, epochs and images."""

    overrides: list[str]
    folder: Path
    key: str
    epochs: int
    images: int = 1

    @property
    def done(self) -> bool:
        """Whether the teacher has been trained."""
        return run_folder.result(self.folder, self.key) is not None


def ensure_teacher(tree: Tree, teachers: Path) -> Path:
    """Give the weights of a config's teacher: the file it names, or the best checkpoint of its recipe on the same data.

    The recipe is an experiment. It takes from this run:

    - its data, which ``teacher.data`` may change (say to a variant in which only shape is reliable);
    - its trainer choice and overrides;
    - the augmentation that its command line chose, except for the stress sets of this run's views. A recipe without
      labels makes its own views, and takes from this only whether images may be mirrored (digits must not be mirrored
      for the teacher either);
    - ``teacher.epochs`` and ``teacher.batch_size``. A batch is never larger than the training images that there are.

    The folder of the recipe's run is ``<teachers>/<name>-<data>-<spec hash>``. If the run is not done, a process of its
    own trains it, or resumes it from its last checkpoint. Other processes that need the same teacher wait. Call this
    function inside ``hydra.main``, after ``kdbias.runs.run_folder.note_choices(cfg)``.

    Raises:
        ValueError: the teacher has neither weights nor a recipe.
        RunStopped: the training failed; the error names its log and, if it is known, the reason.
    """
    teacher = tree["teacher"]
    if teacher.get("weights") is not None:
        return Path(str(teacher["weights"]))
    if teacher.get("recipe") is None:
        raise ValueError(f"teacher {teacher['name']} has no recipe to train it by: give teacher.weights=PATH")
    found = recipe(tree, teachers, str(HydraConfig.get().job.config_name))
    return trained(found, f"teacher {teacher['name']} on {tree['chosen']['data']}", teachers)


def trained(found: Recipe, what: str, teachers: Path) -> Path:
    """Give the best checkpoint of a recipe's run; if it is not done, train it first.

    Raises:
        RunStopped: the training failed; the error names its log and, if it is known, the reason.
    """
    if not found.done:
        with run_folder.alone(found.folder):
            if not found.done:
                print(
                    f"{what} not found under {teachers}: training it first ({found.epochs} epochs) in {found.folder}",
                    flush=True,
                )
                _train(found.overrides, found.folder, found.key)
    return found.folder / run_folder.BEST


def recipe(tree: Tree, teachers: Path, config_name: str, extra: Sequence[str] = ()) -> Recipe:
    """Give the recipe for the teacher of ``tree``, a config composed from ``config_name``.

    With ``extra`` overrides it is another teacher, in another folder.
    """
    overrides = [*recipe_overrides(tree, config_name), *extra]
    overrides += _smaller_batch(plain(compose(config_name, overrides)))
    return recipe_of(overrides, tree["teacher"]["name"], tree["chosen"]["data"], teachers, config_name)


def recipe_of(overrides: list[str], name: str, data: str, teachers: Path, config_name: str) -> Recipe:
    """Give the recipe of a command line; ``name`` and ``data`` name its folder under ``teachers``."""
    typed = compose(config_name, overrides)
    expand_paths(typed)  # as in the process that trains the teacher, so that the hash is the same
    composed, decided = settled(plain(typed))
    digest = spec_hash(composed)
    folder = (teachers / f"{name}-{data}-{digest}").absolute()
    images = training_images(composed.get("data") or {}) or 1
    return Recipe([*overrides, *decided], folder, digest, int(composed["epochs"]), images)


def recipe_overrides(tree: Tree, config_name: str) -> list[str]:
    """Give the command line that trains the teacher: its recipe, with data, augmentation and trainer of this run.

    A recipe that makes its own views keeps its augmentation; otherwise every augmentation of a student would need
    another teacher. So does the recipe of a student that makes its own views, whose ``augment=none`` says no more. The
    recipe's network gets the settings of ``teacher.model``, except those in ``READING``.
    """
    chosen, teacher = tree["chosen"], tree["teacher"]
    overrides = [f"experiment={teacher['recipe']}", f"data={chosen['data']}", f"trainer={child_trainer(tree)}"]
    words = _of_views(tree, [o for o in chosen["overrides"] if _kept(o)])
    own_views = (plain(compose(config_name, overrides)).get("module") or {}).get("views") is not None
    overrides += _for_views(words, tree) if own_views else words
    overrides += [f"{key}={teacher[key]}" for key in ("epochs", "batch_size") if teacher.get(key) is not None]
    # Both an experiment and the command line may set the data, so compare the data themselves, key by key.
    present = plain(compose(config_name, overrides))
    wanted = flat(tree["data"]) | flat(teacher.get("data") or {})
    network = {key: value for key, value in (teacher.get("model") or {}).items() if key not in READING}
    overrides += override("data", wanted, present["data"])
    return overrides + override("model", network, present.get("model") or {})


def _smaller_batch(composed: Tree) -> list[str]:
    """The override for a recipe whose batch is larger than its training set; none where a batch is full.

    The largest batch is taken that the devices of the recipe's trainer divide.
    """
    size, count = composed.get("batch_size"), training_images(composed.get("data") or {})
    if type(size) is not int or count is None or size <= count:
        return []
    devices = (composed.get("trainer") or {}).get("devices")
    among = devices if type(devices) is int and 1 <= devices <= count else 1
    return [f"batch_size={count - count % among}"]


def training_images(node: Mapping[str, Any]) -> int | None:
    """Give how many training images a data set has; None if that is not known here, where it is missing."""
    if "_target_" not in node:
        return None
    from kdbias.data.cues import CueSource  # it loads torch, which a sweep does not need

    try:
        source = build(node, group="data")
        return source.train - source.val if isinstance(source, CueSource) else int(source.info.train)
    except (OSError, ValueError):
        return None  # the run itself says what is wrong with its data


def _kept(word: str) -> bool:
    """Whether a run's override also applies to its teacher's training; the trainer is chosen elsewhere."""
    if sets(word, "trainer.num_nodes", "loader.repeats", *KEYS) or key_of(word) == "trainer":
        return False
    return sets(word, "trainer", "paths", "augment", "loader")


def _of_views(tree: Tree, words: list[str]) -> list[str]:
    """Leave out the augmentation of a student that makes its own views; its teacher is trained with the recipe's.

    That images must not be mirrored holds for the teacher too.
    """
    views = (tree.get("module") or {}).get("views")
    if views is None:
        return words
    kept = [word for word in words if not sets(word, "augment")]
    return kept if views.get("flip", True) else [*kept, "augment.flip=false"]


def _for_views(words: list[str], tree: Tree) -> list[str]:
    """Leave out the student's augmentation, except the statement that images must not be mirrored."""
    chosen = [word for word in words if sets(word, "augment")]
    unmirrored = not tree["augment"]["flip"] and chosen not in ([], ["augment=none"])
    return [word for word in words if word not in chosen] + ["module.views.flip=false"] * unmirrored


def child_trainer(tree: Tree) -> str:
    """Give the trainer choice of a run in its own process; such a run uses this machine alone."""
    trainer = str(tree["chosen"]["trainer"])
    return "ddp" if trainer == "slurm" else trainer


def override(group: str, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Give the overrides for the keys of ``wanted`` that ``present`` lacks or sets to another value."""
    default = flat(present)
    return [
        f"++{group}.{key}={_value(value)}"
        for key, value in flat(wanted).items()
        if key not in default or default[key] != value
    ]


def _train(overrides: list[str], folder: Path, key: str) -> None:
    shown = sys.stdout.isatty()  # a person at a terminal wants the progress bar, which a log cannot show
    if shown:
        found = single_run(overrides, folder, key, log=None)
    else:
        with Watch("teacher", folder) as watch:
            found = single_run(overrides, folder, key, log=folder / LOG, meanwhile=watch.look)
    if found is None or not (folder / run_folder.BEST).is_file():
        where = "its output is above" if shown else f"its log is {folder / LOG}"
        why = (failure.reason(folder) or "").replace(": model.", ": teacher.model.", 1)  # what it calls the student
        raise RunStopped(f"training the teacher in {folder} failed{f' ({why})' if why else ''}: {where}")


def _value(value: Any) -> str:
    """Write a plain value in Hydra's override grammar: JSON with unquoted dict keys."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_value, value)) + "]"
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else json.dumps(value)
