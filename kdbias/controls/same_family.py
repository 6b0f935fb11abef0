"""``control=same_family``: a teacher of the student's own family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from kdbias.controls.base import Control, Source, missing_file
from kdbias.controls.measure import accuracy
from kdbias.controls.named import named_teacher
from kdbias.data.base import PictureData
from kdbias.features import NetworkInfo
from kdbias.plan import Plan
from kdbias.problem import Problem
from kdbias.teachers import Teacher


class SameFamily(Control):
    """Another network of the student's family teaches; trained once by its own recipe where no weights are given.

    Args:
        vit: The teacher of a vision transformer, by the name of its config.
        cnn: The teacher of a CNN.
        weights: Of that teacher, a ``.safetensors`` file or a checkpoint.
        epochs: Of its training; its recipe's own where None.
    """

    kind = "same_family"

    def __init__(self, *, vit: str, cnn: str, weights: str | None = None, epochs: int | None = None) -> None:
        super().__init__()
        self.names, self.weights, self.epochs = {"vit": vit, "cnn": cnn}, weights, epochs

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse a teacher that is of the student's family already, and one that is not there."""
        yield from super().refusals(run)
        yield from missing_file("control.weights", self.weights)
        if run.student is None or run.teacher is None:
            return
        family = run.student.info.family
        if run.teacher.info.family == family:
            name = run.tree["teacher"]["name"]
            yield Problem(
                "control", f"same_family: {name} is of the student's family ({family}) already; leave control out"
            )
        try:
            named_teacher(self.names[family])
        except ValueError as error:
            yield Problem(f"control.{family}", str(error))

    def changed(self, tree: Mapping[str, Any], student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the other teacher."""
        teacher = {**named_teacher(self.names[student.family])}
        teacher |= {"weights": self.weights or teacher["weights"], "epochs": self.epochs or teacher["epochs"]}
        replaced = tree["teacher"]["name"]
        self.found = {
            "matched": ["family"],
            "family": student.family,
            "teacher": teacher["name"],
            "instead_of": replaced,
        }
        return {**tree, "teacher": teacher}

    def teacher(self, cfg: DictConfig, data: PictureData, source: Source) -> Teacher | None:
        """Give the other teacher, and measure it."""
        teacher = source(cfg)
        if teacher is not None:
            self.found["teacher_accuracy"] = accuracy(teacher, data, cfg, cfg.probe_pictures)
        return teacher
