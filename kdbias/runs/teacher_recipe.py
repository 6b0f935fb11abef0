"""A teacher that is not there yet is trained first, once, by its recipe; every later run finds it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from kdbias.config.conf import expand_paths
from kdbias.config.overrides import key_of, sets
from kdbias.config.spec import Tree, flat, plain, spec_hash
from kdbias.runs import run_folder
from kdbias.runs.pretrained import settled
from kdbias.runs.sweep import LOG, single_run

READING = ("layers", "dense", "qkv")  # of a network, what a run reads: its training does not depend on it


@dataclass(frozen=True)
class Recipe:
    """How a teacher is trained: by which command line, in which run folder, under which spec hash, how many epochs."""

    overrides: list[str]
    folder: Path
    key: str
    epochs: int

    @property
    def done(self) -> bool:
        """Whether it has been trained."""
        return run_folder.result(self.folder, self.key) is not None


def ensure_teacher(tree: Tree, teachers: Path) -> Path:
    """Give the weights of a config's teacher: the file it names, or the best checkpoint of its recipe on the same data.

    The recipe is an experiment. It gets this run's data (``teacher.data`` changes it, say to a variant in which only
    shape is reliable), its trainer choice and overrides, the augmentation that its command line chose (digits are not
    to be mirrored for the teacher either; of this alone a recipe without labels takes note, which makes views of its
    own), and ``teacher.epochs``. Its run lies in
    ``<teachers>/<name>-<data>-<spec hash>``; where it is not done, it is trained in a process of its own, going on from
    its last checkpoint, while other processes that want it wait. Call it inside ``hydra.main``, after
    ``kdbias.runs.run_folder.note_choices(cfg)``.

    Raises:
        ValueError: the teacher has neither weights nor a recipe.
        RuntimeError: the training failed; the error names its log.
    """
    teacher = tree["teacher"]
    if teacher.get("weights") is not None:
        return Path(str(teacher["weights"]))
    if teacher.get("recipe") is None:
        raise ValueError(f"teacher {teacher['name']} has no recipe to train it by: give teacher.weights=PATH")
    found = recipe(tree, teachers, str(HydraConfig.get().job.config_name))
    return trained(found, f"teacher {teacher['name']} on {tree['chosen']['data']}", teachers)


def trained(found: Recipe, what: str, teachers: Path) -> Path:
    """Give the best checkpoint of a recipe's run, which is trained first where it is missing.

    Raises:
        RuntimeError: the training failed; the error names its log.
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
    """Give how the teacher of ``tree``, a config of ``config_name``, is trained where it is missing.

    ``extra`` overrides make it another teacher, in a folder of its own.
    """
    overrides = [*recipe_overrides(tree, config_name), *extra]
    return recipe_of(overrides, tree["teacher"]["name"], tree["chosen"]["data"], teachers, config_name)


def recipe_of(overrides: list[str], name: str, data: str, teachers: Path, config_name: str) -> Recipe:
    """Give the recipe of a command line; ``name`` and ``data`` name its folder under ``teachers``."""
    typed = compose(config_name, overrides)
    expand_paths(typed)  # as the process that trains it will
    composed, decided = settled(plain(typed))
    digest = spec_hash(composed)
    folder = (teachers / f"{name}-{data}-{digest}").absolute()
    return Recipe([*overrides, *decided], folder, digest, int(composed["epochs"]))


def recipe_overrides(tree: Tree, config_name: str) -> list[str]:
    """Give the command line that trains the teacher: its recipe, with data, augmentation and trainer of this run.

    A recipe that makes views of its own keeps its augmentation: else every one of a student would be another teacher.
    What ``teacher.model`` sets goes to the recipe's network, but for what is read of it.
    """
    chosen, teacher = tree["chosen"], tree["teacher"]
    overrides = [f"experiment={teacher['recipe']}", f"data={chosen['data']}", f"trainer={child_trainer(tree)}"]
    words = [o for o in chosen["overrides"] if _kept(o)]
    own_views = (plain(compose(config_name, overrides)).get("module") or {}).get("views") is not None
    overrides += _for_views(words, tree) if own_views else words
    if teacher.get("epochs") is not None:
        overrides.append(f"epochs={teacher['epochs']}")
    # An experiment may set the data as well as the command line: compare the data themselves, key by key.
    present = plain(compose(config_name, overrides))
    wanted = flat(tree["data"]) | flat(teacher.get("data") or {})
    network = {key: value for key, value in (teacher.get("model") or {}).items() if key not in READING}
    overrides += override("data", wanted, present["data"])
    return overrides + override("model", network, present.get("model") or {})


def _kept(word: str) -> bool:
    """Whether a run's override is one of its teacher's training too; the trainer's choice is made apart."""
    if sets(word, "trainer.num_nodes", "loader.repeats") or key_of(word) == "trainer":
        return False
    return sets(word, "trainer", "paths", "augment", "loader")


def _for_views(words: list[str], tree: Tree) -> list[str]:
    """Leave the student's augmentation out, but for what it says of the images: that they are not mirror images."""
    chosen = [word for word in words if sets(word, "augment")]
    unmirrored = not tree["augment"]["flip"] and chosen not in ([], ["augment=none"])
    return [word for word in words if word not in chosen] + ["module.views.flip=false"] * unmirrored


def child_trainer(tree: Tree) -> str:
    """Give the trainer choice of a run in a process of its own: it runs on this node alone."""
    trainer = str(tree["chosen"]["trainer"])
    return "ddp" if trainer == "slurm" else trainer


def override(group: str, wanted: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Give the overrides that set what ``wanted`` has and ``present`` has not or has otherwise, key by key."""
    default = flat(present)
    return [
        f"++{group}.{key}={_value(value)}"
        for key, value in flat(wanted).items()
        if key not in default or default[key] != value
    ]


def _train(overrides: list[str], folder: Path, key: str) -> None:
    shown = sys.stdout.isatty()  # someone waits for it and wants its progress bar, which a log cannot show
    found = single_run(overrides, folder, key, log=None if shown else folder / LOG)
    if found is None or not (folder / run_folder.BEST).is_file():
        where = "its output is above" if shown else f"its log is {folder / LOG}"
        raise RuntimeError(f"training the teacher in {folder} failed: {where}")


def _value(value: Any) -> str:
    """Give a plain value as Hydra's override grammar takes it: JSON, with the keys of dicts bare."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_value, value)) + "]"
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else json.dumps(value)
