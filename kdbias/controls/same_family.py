"""``control=same_family``: a teacher of the student's own family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.checks.plan import REFUSALS, Plan
from kdbias.config.build import builder
from kdbias.config.errors import Problem
from kdbias.config.spec import Tree
from kdbias.controls.accuracy import accuracy
from kdbias.controls.base import Control, Source, missing_file
from kdbias.controls.named import named_teacher, network_of, on_the_images_of
from kdbias.data.base import ImageData
from kdbias.models.features import NetworkInfo
from kdbias.models.teacher import Teacher


@builder("control")
class SameFamily(Control):
    """Another network of the student's family as the teacher; without weights its own recipe trains it once.

    It is trained on the images that the replaced teacher is trained on (``teacher.data``), but by its own recipe: the
    epochs and the batch of another family do not suit it.

    Args:
        vit: The teacher of a vision transformer, by the name of its config.
        cnn: The teacher of a CNN.
        weights: Those of the new teacher, a ``.safetensors`` file or a checkpoint.
        epochs: Those of its training; None takes the recipe's.
        batch_size: That of its training; None takes the recipe's.
    """

    kind = "same_family"
    uses_teacher = False
    keeps_of_teacher = ("data",)

    def __init__(
        self,
        *,
        vit: str,
        cnn: str,
        weights: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.names, self.weights, self.epochs, self.batch_size = {"vit": vit, "cnn": cnn}, weights, epochs, batch_size

    @classmethod
    def teachers_named(cls, control: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Give the teachers of both families: which one teaches is the student's matter."""
        yield from ((str(control.get(family)), control.get("weights")) for family in ("vit", "cnn"))

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse if the teacher already has the student's family, or if the named one is missing or has another family.

        Weights are also refused if the replaced teacher is trained on images of its own (``teacher.data``).
        """
        yield from super().refusals(run)
        yield from missing_file("control.weights", self.weights)
        if run.student is None or run.teacher is None or run.data is None:
            return
        family, replaced = run.student.info.family, run.tree["teacher"]
        if run.teacher.info.family == family:
            yield Problem(
                "control",
                f"same_family: {replaced['name']} has the student's family ({family}) already; leave control out",
            )
        if self.weights is not None and replaced.get("data"):
            yield Problem(
                "control.weights",
                f"may come from other images than those that {replaced['name']} was trained on (teacher.data): leave "
                "it out to train the teacher on the same images, or drop teacher.data (~teacher.data) if they agree",
            )
        name = self.names.get(family)
        if name is None:
            yield Problem(
                "control",
                f"same_family: the student's family is {family}, and teachers are named for "
                f"{' and '.join(self.names)} alone; leave control out",
            )
            return
        try:
            found = network_of(named_teacher(name), run.data).family
        except REFUSALS as error:
            yield Problem(f"control.{family}", str(error))
        else:
            if found != family:
                yield Problem(
                    f"control.{family}",
                    f"{name} has the family {found} and the student {family}: name a teacher of the student's family",
                )

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the other teacher."""
        replaced = tree["teacher"]
        teacher = on_the_images_of(replaced, named_teacher(self.names[student.family]))
        teacher |= {"weights": self.weights or teacher["weights"], "epochs": self.epochs or teacher["epochs"]}
        teacher |= {"batch_size": self.batch_size or teacher.get("batch_size")}
        self.found = {
            "matched": ["family"],
            "family": student.family,
            "teacher": teacher["name"],
            "instead_of": replaced["name"],
        }
        return {**tree, "teacher": teacher}

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the other teacher, and measure it."""
        teacher = source(tree)
        if teacher is not None:
            self.found["teacher_accuracy"] = accuracy(teacher, data, tree, tree["probe_images"])
        return teacher
