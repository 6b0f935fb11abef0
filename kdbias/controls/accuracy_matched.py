"""``control=accuracy_matched``: among several teachers, the one whose accuracy is nearest to a given one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig

from kdbias.callbacks.history import accuracies
from kdbias.checks.plan import Plan
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError, Problem
from kdbias.config.spec import Tree
from kdbias.controls.accuracy import accuracy
from kdbias.controls.base import Control, Source
from kdbias.controls.graded import graded_problems, require_share, to_train
from kdbias.controls.named import named_teacher, on_the_images_of
from kdbias.data.base import ImageData
from kdbias.models.features import NetworkInfo
from kdbias.models.teacher import Teacher
from kdbias.runs.teacher_recipe import recipe, trained


@builder("control")
class AccuracyMatched(Control):
    """A teacher of a wanted accuracy: a checkpoint of the teacher's own training, or another teacher.

    Accuracies are measured on the validation split, or given: for weights that were trained on these images the
    measured accuracy would be too high. A teacher's training keeps checkpoints if it has
    ``callback.checkpoint_history``; if no such training exists, it runs once. Graded teachers with weights are compared
    first. The others are then trained one by one, in their order, until one is near enough, for ``teacher.epochs``, in
    batches of ``teacher.batch_size`` and on ``teacher.data``.

    Args:
        accuracy: The wanted accuracy, 0 to 1.
        among: ``training`` chooses among checkpoints of the teacher's own training (with ``teacher.weights``, those in
            the folder of that file); ``graded`` chooses among the teachers below.
        every: Epochs between two checkpoints.
        graded: Teachers by the names of their configs, each with ``weights`` (trained once where None) and their
            ``accuracy`` (measured where None).
        tolerance: The run is refused if the nearest candidate is further away than this.
    """

    kind = "accuracy_matched"

    def __init__(
        self,
        *,
        accuracy: float,
        among: Literal["training", "graded"] = "training",
        every: int = 5,
        graded: Mapping[str, Mapping[str, Any]] | None = None,
        tolerance: float = 0.02,
    ) -> None:
        super().__init__()
        require_share(accuracy)
        if among == "graded" and not graded:
            raise ArgumentError(
                "graded", "names no teacher: add control.graded.NAME.weights=PATH, or choose among=training"
            )
        self.wanted, self.among, self.every, self.tolerance = accuracy, among, every, tolerance
        self.graded = {name: dict(given or {}) for name, given in (graded or {}).items()}
        self.own_weights = among == "graded"
        self._replaced: Mapping[str, Any] = {}  # the teacher of the experiment

    @classmethod
    def teachers_named(cls, control: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Give the graded teachers where it is to choose among these."""
        if control.get("among") == "graded":
            yield from ((name, (given or {}).get("weights")) for name, given in (control.get("graded") or {}).items())

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse teachers without an accuracy or a training, and candidates that are missing or not near enough."""
        yield from super().refusals(run)
        teacher = run.tree.get("teacher") or {}
        if self.among == "graded":
            problems = list(graded_problems(self.graded, run))
            yield from problems
            known = {} if problems else self._given()
            if known.keys() == self.graded.keys() and not self._near(known):
                yield Problem("control.accuracy", self._too_far(known))
        elif run.teacher is not None and run.teacher.info.classes is None:
            yield Problem("control", f"accuracy_matched: {teacher['name']} has no classifier, hence no accuracy")
        elif run.has_teacher and teacher.get("weights") is None and teacher.get("recipe") is None:
            yield Problem("control.among", f"no recipe trains {teacher['name']}: use control.among=graded")
        elif teacher.get("weights") is not None:
            known = accuracies(Path(str(teacher["weights"])).parent)
            if not known:
                yield Problem(
                    "control.among",
                    f"no checkpoints of its training lie beside {teacher['weights']} (callback=[...,history] keeps "
                    "them): leave teacher.weights out to have it trained, or use control.among=graded",
                )
            elif not self._near(known):
                yield Problem("control.accuracy", self._too_far(known))

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the first graded teacher as a stand-in, until the nearest is known."""
        self._replaced = tree["teacher"]
        return {**tree, "teacher": self._named(next(iter(self.graded)))} if self.among == "graded" else dict(tree)

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the candidate that is nearest.

        Raises:
            ValueError: there is no candidate, or none is near enough; the message lists the available accuracies.
        """
        known = self._graded(tree, data, source) if self.among == "graded" else self._training(tree)
        if not known:
            raise ValueError(
                f"control.every={self.every}: the training in {self._folder} kept no checkpoint, because it was not "
                "validated in these epochs: set a multiple of trainer.val_every, at most the teacher's epochs"
            )
        if not self._near(known):
            raise ValueError(self._too_far(known))
        nearest = self._nearest(known)
        if self.among == "graded":
            tree["teacher"] = self._named(nearest)
        else:
            tree["teacher"] = {**tree["teacher"], "weights": str(self._folder / f"{nearest}.ckpt")}
        self.found = {
            "matched": ["accuracy"],
            "wanted": self.wanted,
            "accuracy": known[nearest],
            "gap": known[nearest] - self.wanted,
            "chosen": nearest,
            "candidates": known,  # on the validation split, but for those given
            "given": [name for name in known if self.graded.get(name, {}).get("accuracy") is not None],
        }
        return source(tree)

    def keep(self) -> list[str]:
        """Give the overrides that make a training keep its checkpoints."""
        node = "callback.checkpoint_history"
        settings = {
            "_target_": "kdbias.callbacks.history.History",
            "folder": "${paths.checkpoints}",
            "every": self.every,
        }
        return [f"++{node}.{key}={value}" for key, value in settings.items()]

    def _nearest(self, known: Mapping[str, float]) -> str:
        return min(known, key=lambda name: abs(known[name] - self.wanted))

    def _near(self, known: Mapping[str, float]) -> bool:
        """Whether a candidate is within the tolerance."""
        return any(abs(value - self.wanted) <= self.tolerance for value in known.values())

    def _too_far(self, known: Mapping[str, float]) -> str:
        there = ", ".join(f"{name} {value:.4f}" for name, value in known.items())
        gap = abs(known[self._nearest(known)] - self.wanted)
        return (
            f"control.accuracy={self.wanted}: the nearest of {there} is {gap:.4f} away: choose one of these, add "
            "candidates, or raise control.tolerance"
        )

    def _named(self, name: str) -> dict[str, Any]:
        """The settings of a graded teacher; if it is trained, with epochs, batch and data of the replaced one."""
        teacher = named_teacher(name)
        weights = self.graded[name].get("weights") or teacher["weights"]
        if weights is not None:
            return {**teacher, "weights": weights}
        trained = {key: self._replaced.get(key) or teacher.get(key) for key in ("epochs", "batch_size")}
        return {**on_the_images_of(self._replaced, teacher), **trained}

    def _given(self) -> dict[str, float]:
        """The accuracies of graded teachers that are given."""
        return {name: float(given["accuracy"]) for name, given in self.graded.items() if given.get("accuracy")}

    def _graded(self, tree: Tree, data: ImageData, source: Source) -> dict[str, float]:
        """The accuracies of the graded teachers, measured if they are not given.

        Teachers without weights come last, and only until one is near enough. The result does not depend on which of
        them were trained before.
        """
        known = self._given()
        rest = {name: self._named(name) for name in self.graded if name not in known}
        for name in sorted(rest, key=lambda name: to_train(rest[name])):
            if to_train(rest[name]) and self._near(known):
                break
            candidate = source({**tree, "teacher": rest[name]})
            value = accuracy(candidate, data, tree, None) if candidate is not None else None
            if value is None:
                raise ValueError(f"control.graded.{name} has no classifier for these images: name another teacher")
            known[name] = value
        return {name: known[name] for name in self.graded if name in known}

    def _training(self, tree: Tree) -> dict[str, float]:
        """The accuracies of the checkpoints of the teacher's training, which runs first if it is missing."""
        teacher = tree["teacher"]
        if teacher.get("weights") is not None:
            best = Path(str(teacher["weights"]))
        else:
            teachers = Path(tree["paths"]["teachers"])
            found = recipe(tree, teachers, str(HydraConfig.get().job.config_name), self.keep())
            best = trained(found, f"teacher {teacher['name']} with its checkpoints", teachers)
        self._folder = best.parent
        return accuracies(self._folder)
