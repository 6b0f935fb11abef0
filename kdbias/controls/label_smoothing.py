"""``control=label_smoothing``: labels smoothed to the teacher's mean confidence, without its knowledge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.checks.plan import Plan
from kdbias.config.build import builder, selected
from kdbias.config.errors import Problem
from kdbias.controls.accuracy import Confidence, confidence, device_of, soft, training_batches
from kdbias.controls.base import Control, Source
from kdbias.data.base import ImageData
from kdbias.models.features import Extractor, Features
from kdbias.models.teacher import Teacher

EDGE = 1e-6  # no class gets a probability of 0, whose logit would be infinite


@builder("control")
class LabelSmoothing(Control):
    """The answer is the smoothed label, with the teacher's mean confidence and no knowledge of the other classes.

    The softened answer has the probability p at the label and (1 - p)/(C - 1) at each other class; a mixed image gets
    the mixture for its two labels. p is chosen so that the mean probability of the target equals the teacher's, on
    training images with augmentation and mixing. The teacher itself is not used in training.

    Source: Yuan et al., CVPR 2020, arXiv:1909.11723 (the "virtual teacher", there with a chosen p).

    Args:
        images: Training images on which the teacher's confidence is measured.
        temperature: The softening at which p holds; None takes that of the terms.
    """

    kind = "label_smoothing"
    needs_terms = True
    answers_kept = False  # they come from the labels, at no cost

    def __init__(self, *, images: int = 2000, temperature: float | None = None) -> None:
        super().__init__()
        self.images, self.temperature = images, temperature

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse losses that read more than logits or ignore confidence, and labels that belong to another image."""
        yield from super().refusals(run)
        yield from labels_problem(run, self.kind)
        for name, term in run.terms.items():
            beyond = sorted(term.needs - {"logits", "hard_target"})
            if beyond:
                yield Problem(
                    "control",
                    f"label_smoothing gives logits, and {name} needs the teacher's {', '.join(beyond)}: leave {name} "
                    "out, or choose control=random or control=shuffled",
                )
            if getattr(term, "standardize", False):
                yield Problem(
                    "control",
                    f"label_smoothing matches the teacher's confidence, which loss.{name}.standardize=true removes",
                )
        found = temperatures(run.tree.get("loss") or {})
        if self.temperature is None and len(set(found.values())) > 1:
            each = ", ".join(f"{name} {value:g}" for name, value in found.items())
            yield Problem(
                "control.temperature", f"the terms have different temperatures ({each}): set the one to match at"
            )

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give a teacher of smoothed labels with the mean confidence of the teacher that it replaces."""
        teacher = source(tree)
        if teacher is None:
            return None
        temperature = self.temperature or next(iter(temperatures(tree["loss"]).values()), 1.0)
        batches = training_batches(data, device_of(tree), self.images)
        wanted = confidence(teacher, batches, temperature)
        smoothed = SmoothedTeacher(teacher.extractor, teacher.name, wanted, temperature)
        self.found = {
            "matched": ["mean confidence"],
            "teacher_confidence": wanted.value,
            "given_confidence": smoothed.given,
            "at_the_label": smoothed.label,
            "temperature": temperature,
            "images": wanted.images,
        }
        return smoothed


class SmoothedTeacher(Teacher):
    """Answers with the smoothed labels of a batch, as logits alone.

    ``label`` is the probability of a single label, ``given`` the mean probability of the target, both after softening
    by ``temperature``. ``given`` equals the ``wanted`` confidence unless no ``label`` in 0..1 reaches it.
    """

    def __init__(self, extractor: Extractor, name: str, wanted: Confidence, temperature: float) -> None:
        super().__init__(extractor, name)
        self.classes, self.temperature = int(extractor.info.classes or 0), temperature
        rest = (1 - wanted.target) / (self.classes - 1)  # of a target, at the classes that one label is not
        self.label = min(max((wanted.value - rest) / (wanted.target - rest), EDGE), 1 - EDGE)
        self.given = self.label * wanted.target + (1 - self.label) * rest

    def answer(self, batch: Batch, step: int) -> Features:
        """Give logits ``(B, classes)`` of the batch's targets."""
        logits = smoothed_logits(soft(batch.target, self.classes), self.label, self.temperature)
        nothing = logits.new_zeros(len(logits), 0)
        return Features(logits, logits, None, None, nothing, (), (), (), ())


def smoothed_logits(target: Tensor, label: float, temperature: float) -> Tensor:
    """Give logits ``(B, C)`` whose softmax at ``temperature`` has ``label`` at a class and the rest at the others.

    A soft ``target`` ``(B, C)`` gives the mixture of these answers over its classes.
    """
    rest = (1 - label) / (target.shape[1] - 1)
    return temperature * torch.log(rest + (label - rest) * target)


def temperatures(loss: dict[str, Any]) -> dict[str, float]:
    """Give the temperatures of the terms that have one."""
    return {name: float(spec["temperature"]) for name, spec in selected(loss) if "temperature" in spec}


def labels_problem(run: Plan, kind: str) -> Iterator[Problem]:
    """Refuse a teacher's view that is not mixed although the labels are."""
    if run.augment is not None and run.augment.view == "clean" and run.augment.mixes:
        yield Problem(
            "control",
            f"{kind} needs labels of the teacher's images, and with augment.view=clean the batch has mixed labels "
            "while these images are not mixed: set augment.view=same or augment.mix_probability=0",
        )
