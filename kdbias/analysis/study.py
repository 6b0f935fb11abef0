"""A study: experiments × seeds × overrides, planned from its yaml, and the record of what was started."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kdbias.analysis.stated import Stated
from kdbias.analysis.study_check import require_study
from kdbias.checks.command import composition_error
from kdbias.checks.early import plain_problems
from kdbias.config.conf import expanded
from kdbias.config.control import teacher_use
from kdbias.config.errors import ConfigError
from kdbias.config.overrides import key_of, sets
from kdbias.config.quotes import with_quotes
from kdbias.config.spec import Tree
from kdbias.files import write_json
from kdbias.runs.ordered import needed_first
from kdbias.runs.parallel import Run, planned
from kdbias.runs.sweep import quoted
from kdbias.runs.teacher_recipe import recipe, training_images

RECORD = "started.json"
SMOKE = (  # what trainer=smoke decides: a study's own words on these keys would undo it
    *("trainer", "data", "epochs", "batch_size", "eval_batch_size", "probe_images"),
    *("teacher.data", "teacher.epochs", "teacher.weights"),
)


@dataclass(frozen=True)
class StudyRun:
    """A run of a study: its group (a row of the tables), its seed, and the teacher that must be trained before it."""

    group: str
    seed: int
    run: Run
    teacher: Run | None = None


@dataclass(frozen=True)
class Study:
    """A planned or started study.

    ``node`` is its yaml as plain types, ``words`` are the overrides that were typed for all of its runs, ``folder`` is
    that of its page. ``chosen`` are the words that changed the yaml, such as ``study.seeds=[0]``. ``configs`` has the
    config of one run of each group; a study that was loaded has none. ``stated`` are its hypotheses of before the first
    result.
    """

    node: Tree
    words: tuple[str, ...]
    runs: tuple[StudyRun, ...]
    folder: Path
    chosen: tuple[str, ...] = ()
    configs: Mapping[str, Tree] = field(default_factory=dict, compare=False, repr=False)
    stated: Stated = field(default=Stated(), compare=False)

    @property
    def name(self) -> str:
        """Its name, that of its yaml."""
        return str(self.node["name"])

    @property
    def needs(self) -> dict[Run, Run]:
        """For a run the teacher that must be trained before it."""
        return {one.run: one.teacher for one in self.runs if one.teacher is not None}

    @property
    def order(self) -> list[Run]:
        """All runs, teachers too, each once, in the order in which they begin."""
        return needed_first([one.run for one in self.runs], self.needs)

    @property
    def groups(self) -> dict[str, list[StudyRun]]:
        """The runs by group."""
        found: dict[str, list[StudyRun]] = {}
        for one in self.runs:
            found.setdefault(one.group, []).append(one)
        return found

    @property
    def command(self) -> str:
        """The command that trains it, wherever its runs lie."""
        return shell(["python train.py -m", f"study={self.name}", *self.chosen, *self.words])

    @property
    def again(self) -> str:
        """The command that trains here what is missing."""
        return shell([self.command, *self.place])

    @property
    def place(self) -> list[str]:
        """The word that names the folder of its runs; none where that is the default one."""
        root = self.folder.parents[1]
        return [] if root == Path(expanded(os.environ.get("KDBIAS_RUNS", "runs"))).absolute() else [runs_in(root)]


def plan(node: Tree, words: Sequence[str], root: Path, chosen: Sequence[str] = ()) -> Study:
    """Compose all runs of a study; ``words`` are overrides of every run, ``root`` is the folder of runs.

    ``chosen`` are the words that made ``node`` of the study's yaml: its command repeats them.

    Runs lie in ``<root>/studies/runs/<name>-seed<seed>-<hash>``, for all studies together: a run that two of them name
    is trained once. Call it inside ``hydra.main`` or ``kdbias.analysis.run_teacher.composing``.

    Raises:
        ConfigError: the study has mistakes, or a run cannot be composed.
    """
    require_study(node)
    found: list[StudyRun] = []
    teachers: dict[str, Run | None] = {}
    images: dict[str, int] = {}
    configs: dict[str, Tree] = {}
    for seed in node["seeds"]:
        for group, one in node["runs"].items():
            typed = run_words(node, one, int(seed), words, root)
            run, tree = _planned(f"{group}, seed {seed}", typed, root / "studies" / "runs")
            name = str(tree["name"]).replace(" ", "-")
            if group not in teachers:  # neither teacher nor mistakes nor images depend on the seed
                _require_sound(group, tree)
                configs[group] = tree
                teachers[group] = teacher_run(tree, Path(str(tree["paths"]["teachers"])))
                images[group] = training_images(tree["data"]) or 1
            folder = run.folder.parent / f"{name}-seed{seed}-{run.key[:8]}"
            run = replace(run, folder=folder, images=images[group])
            found.append(StudyRun(group, int(seed), run, teachers[group]))
    _require_different(found)
    return Study(node, tuple(words), tuple(found), root / "studies" / str(node["name"]), tuple(chosen), configs)


def _planned(label: str, typed: Sequence[str], folder: Path) -> tuple[Run, Tree]:
    try:
        return planned(label, typed, folder)
    except (HydraException, OmegaConfBaseException) as error:
        found = composition_error(error, typed, "train")
        raise ConfigError(f"{found} (in the run {label})") from error


def _require_sound(group: str, tree: Tree) -> None:
    """Pass a run whose values make sense as far as that shows without its networks; the run checks the rest."""
    problems = plain_problems(tree)
    if problems:
        raise ConfigError("\n  ".join([f"the run {group} has mistakes:", *map(str, problems)]))


def _require_different(found: Sequence[StudyRun]) -> None:
    """Pass a study no two groups of which are the same run: they would be compared with themselves."""
    first: dict[Path, StudyRun] = {}
    for one in found:
        other = first.setdefault(one.run.folder, one)
        if other.group != one.group:
            raise ConfigError(
                f"study.runs: {other.group} and {one.group} are the same run: leave one out, and name the other as the "
                "control of both groups (control: NAME)"
            )


def run_words(node: Tree, one: Tree, seed: int, words: Sequence[str], root: Path) -> list[str]:
    """Give the overrides of one run: the study's, those of its group, ``study.overrides``, then the typed ones."""
    own = [*(node.get("common") or []), *(one.get("overrides") or [])]
    added = [*(node.get("overrides") or []), *words]
    if any(word.replace(" ", "") == "trainer=smoke" for word in added):
        own = [word for word in own if not sets(word, *SMOKE)]
    typed = [f"experiment={one['experiment']}", f"seed={seed}", *own, *added, runs_in(root)]
    return with_quotes([str(word) for word in typed])


def teacher_run(tree: Tree, teachers: Path) -> Run | None:
    """Give the training of the teacher that a config needs; None if it needs none, or has its weights.

    A control that finds its own teacher (a copy of the student, say) trains it within the run.
    """
    teacher, use = tree["teacher"], teacher_use(tree)
    trained = teacher.get("name") is not None and teacher.get("weights") is None and teacher.get("recipe") is not None
    if not trained or not (use.uses_teacher and use.uses_teacher_weights):
        return None
    found = recipe(tree, teachers, "train")
    label = f"teacher {teacher['name']}"
    return Run(label, tuple(found.overrides), found.folder, found.key, found.epochs, found.images)


def save(study: Study) -> None:
    """Write the record of a started study, which ``load`` reads; the folder of runs may move."""
    root = study.folder.parents[1]
    runs = [
        {
            "group": one.group,
            "seed": one.seed,
            "run": _plain(one.run, root),
            "teacher": one.teacher and _plain(one.teacher, root),
        }
        for one in study.runs
    ]
    payload = {"study": dict(study.node), "words": list(study.words), "chosen": list(study.chosen), "runs": runs}
    write_json(study.folder / RECORD, payload | {"stated": asdict(_stated(study))})


def _stated(study: Study) -> Stated:
    """The hypotheses of before the first result of a study that is begun, or begun again."""
    try:
        earlier = load(study.folder)
    except ConfigError:  # a damaged record, which this command replaces
        earlier = None
    done = any(one.run.done for one in (*study.runs, *(() if earlier is None else earlier.runs)))
    if earlier is None:
        return Stated(late=done)
    return earlier.stated.next(earlier.node.get("hypotheses") or {}, has_results=done)


def load(folder: Path) -> Study | None:
    """Give the study that was started last in its folder; None if none was.

    Raises:
        ConfigError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        require_study(found["study"])
        runs = tuple(
            StudyRun(
                str(one["group"]),
                int(one["seed"]),
                _run(one["run"], folder.parents[1]),
                _run(one["teacher"], folder.parents[1]) if one["teacher"] else None,
            )
            for one in found["runs"]
        )
        chosen = found.get("chosen", [])  # records of before have none
        words, chosen = (tuple(map(str, one)) for one in (found["words"], chosen))
        stated = Stated(**found.get("stated", {}))  # records of before have none
        if not isinstance(stated.first, Mapping | None):
            raise TypeError("stated.first is no mapping")
        return Study(found["study"], words, runs, folder, chosen, stated=stated)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is cut short or damaged ({error}): give the command of the study again") from error


def _plain(run: Run, root: Path) -> dict[str, Any]:
    return {
        "label": run.label,
        "overrides": [word for word in run.overrides if key_of(word) != "paths.runs"],
        "folder": os.path.relpath(run.folder, root) if run.folder.is_relative_to(root) else str(run.folder),
        "key": run.key,
        "epochs": run.epochs,
        "images": run.images,
        "answers": run.answers,
    }


def _run(found: Mapping[str, Any], root: Path) -> Run:
    words, folder = tuple(map(str, found["overrides"])), root / str(found["folder"])
    images, answers = int(found.get("images", 1)), str(found.get("answers", ""))  # records of before have none
    return Run(str(found["label"]), words, folder, str(found["key"]), int(found["epochs"]), images, answers)


def runs_in(root: Path) -> str:
    """Give the override that names the folder of runs."""
    return f"paths.runs={quoted(str(root))}"


def shell(words: Sequence[str]) -> str:
    """Write a command for a shell: the first of ``words`` as it is, the others in quotes where they need them.

    >>> print(shell(["python train.py -m", "study=demo", "study.common=['epochs=1']"]))
    python train.py -m study=demo "study.common=['epochs=1']"
    """
    return " ".join([words[0], *map(_for_shell, words[1:])])


def _for_shell(word: str) -> str:
    plain_in_double = "'" in word and not set(word) & set('"$`\\!')
    return f'"{word}"' if plain_in_double else shlex.quote(word)
