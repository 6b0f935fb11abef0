"""``control=accuracy_matched``: of several teachers the one nearest to a given accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdbias.callbacks.history import accuracies
from kdbias.controls.base import Control, Source, missing_file
from kdbias.controls.measure import accuracy
from kdbias.controls.named import named_teacher
from kdbias.data.base import PictureData
from kdbias.features import NetworkInfo
from kdbias.ondemand import recipe, trained
from kdbias.plan import Plan
from kdbias.problem import Problem
from kdbias.teachers import Teacher


class AccuracyMatched(Control):
    """A teacher of a wanted accuracy: a checkpoint of the teacher's own training, or another teacher.

    Accuracies are those on the validation split, or given ones: weights that were trained on these pictures too would
    be measured too well. A teacher's training keeps checkpoints where ``callback.checkpoint_history`` says so; where it
    has not been trained in that way it is, once.

    Args:
        accuracy: The wanted one, 0 to 1.
        among: ``training`` chooses among checkpoints of the teacher's own training, which for ``teacher.weights`` lie
            beside that file; ``graded`` among the teachers below.
        every: Epochs between two checkpoints.
        graded: Teachers by the names of their configs, each with ``weights`` (trained once where None) and ``accuracy``
            (measured where None).
        tolerance: A nearest candidate further away than this is refused.
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
        if not 0 < accuracy <= 1:
            raise ValueError(f"accuracy: must be in (0, 1], got {accuracy}; .917 is 91.7 %")
        if among not in ("training", "graded"):
            raise ValueError(f"among: must be training or graded, got {among!r}")
        if every < 1 or tolerance <= 0:
            raise ValueError(f"every: must be at least 1, and tolerance above 0, got {every} and {tolerance}")
        if among == "graded" and not graded:
            raise ValueError("graded: names no teacher: add control.graded.NAME.weights=PATH, or choose among=training")
        self.wanted, self.among, self.every, self.tolerance = accuracy, among, every, tolerance
        self.graded = {name: dict(given or {}) for name, given in (graded or {}).items()}
        self.own_weights = among == "graded"

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse teachers without accuracy or without a training to choose from, and candidates that are not there."""
        yield from super().refusals(run)
        teacher = run.tree.get("teacher") or {}
        if self.among == "graded":
            yield from self._graded_problems()
        elif run.teacher is not None and run.teacher.info.classes is None:
            yield Problem("control", f"accuracy_matched: {teacher['name']} has no classifier, and so no accuracy")
        elif run.has_teacher and teacher.get("weights") is None and teacher.get("recipe") is None:
            yield Problem("control.among", f"no recipe trains {teacher['name']}: use control.among=graded")
        elif teacher.get("weights") is not None and not accuracies(Path(str(teacher["weights"])).parent):
            yield Problem(
                "control.among",
                f"beside {teacher['weights']} are no checkpoints of its training (callback=[...,history] keeps them): "
                "leave teacher.weights out to have it trained, or use control.among=graded",
            )

    def _graded_problems(self) -> Iterator[Problem]:
        for name, given in self.graded.items():
            key = f"control.graded.{name}"
            unknown = sorted(given.keys() - {"weights", "accuracy"})
            if unknown:
                yield Problem(f"{key}.{unknown[0]}", "nothing reads it: the settings are weights and accuracy")
            yield from missing_file(f"{key}.weights", given.get("weights"))
            try:
                named_teacher(name)
            except ValueError as error:
                yield Problem(key, str(error))

    def changed(self, tree: Mapping[str, Any], student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the first of the graded teachers, until the nearest is known."""
        return {**tree, "teacher": self._named(next(iter(self.graded)))} if self.among == "graded" else dict(tree)

    def teacher(self, cfg: DictConfig, data: PictureData, source: Source) -> Teacher | None:
        """Give the candidate that is nearest.

        Raises:
            ValueError: none is near enough, or there is none; names the accuracies that there are.
        """
        known = self._graded(cfg, data, source) if self.among == "graded" else self._training(cfg)
        if not known:
            raise ValueError(
                f"control.every={self.every}: the training in {self._folder} kept no checkpoint, validated in none of "
                "these epochs: take a multiple of trainer.val_every, and no more than the teacher's epochs"
            )
        nearest = min(known, key=lambda name: abs(known[name] - self.wanted))
        gap = known[nearest] - self.wanted
        if abs(gap) > self.tolerance:
            there = ", ".join(f"{name} {value:.4f}" for name, value in known.items())
            raise ValueError(
                f"control.accuracy={self.wanted}: the nearest of {there} is {abs(gap):.4f} away; want one of these, "
                "give more candidates, or raise control.tolerance"
            )
        if self.among == "graded":
            cfg.teacher = self._named(nearest)
        else:
            cfg.teacher.weights = str(self._folder / f"{nearest}.ckpt")
        self.found = {
            "matched": ["accuracy"],
            "wanted": self.wanted,
            "accuracy": known[nearest],
            "gap": gap,
            "chosen": nearest,
            "candidates": known,  # on the validation split, but for those given
            "given": [name for name in known if self.graded.get(name, {}).get("accuracy") is not None],
        }
        return source(cfg)

    def keep(self) -> list[str]:
        """Give the overrides by which a training keeps its checkpoints."""
        node = "callback.checkpoint_history"
        settings = {
            "_target_": "kdbias.callbacks.history.History",
            "folder": "${paths.checkpoints}",
            "every": self.every,
        }
        return [f"++{node}.{key}={value}" for key, value in settings.items()]

    def _named(self, name: str) -> dict[str, Any]:
        teacher = named_teacher(name)
        return {**teacher, "weights": self.graded[name].get("weights") or teacher["weights"]}

    def _graded(self, cfg: DictConfig, data: PictureData, source: Source) -> dict[str, float]:
        """The accuracies of the graded teachers, measured where they are not given."""
        known: dict[str, float] = {}
        for name, given in self.graded.items():
            value = given.get("accuracy")
            if value is None:
                cfg.teacher = self._named(name)
                candidate = source(cfg)
                value = accuracy(candidate, data, cfg, None) if candidate is not None else None
            if value is None:
                raise ValueError(f"control.graded.{name} has no classifier for these pictures: name another teacher")
            known[name] = float(value)
        return known

    def _training(self, cfg: DictConfig) -> dict[str, float]:
        """The accuracies of the checkpoints of the teacher's training, made first where it is missing."""
        if cfg.teacher.get("weights") is not None:
            best = Path(str(cfg.teacher.weights))
        else:
            teachers = Path(cfg.paths.teachers)
            found = recipe(cfg, teachers, str(HydraConfig.get().job.config_name), self.keep())
            best = trained(found, f"teacher {cfg.teacher.name} with its checkpoints", teachers)
        self._folder = best.parent
        return accuracies(self._folder)
