"""``control=shuffled``: the teacher's answers for another image of the same class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.checks.plan import Plan
from kdbias.config.build import builder
from kdbias.config.errors import Problem
from kdbias.controls.base import Control, Source
from kdbias.controls.label_smoothing import labels_problem
from kdbias.data.base import ImageData
from kdbias.data.streams import Stream, stream
from kdbias.models.features import Extractor, Features
from kdbias.models.teacher import Teacher

KEPT = 0.05  # share of images that may keep their own answers


@builder("control")
class Shuffled(Control):
    """Each image gets the teacher's logits and features for another image of the batch with the same label.

    So the answers fit the class, but not the image. A mixed image has the class of its larger part; of equal parts the
    first counts. An image that is alone in its class keeps its own answers. Each process shuffles its own images, so
    the partners depend on the number of processes. The control counts the share of images with answers for another
    image, and how far the mixed labels of the two images agree.
    """

    kind = "shuffled"
    needs_terms = True

    def __init__(self) -> None:
        super().__init__()
        self._taught: ShuffledTeacher | None = None

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse labels of another image, kept answers, and batches in which many images are alone in their class."""
        yield from super().refusals(run)
        if (run.tree.get("teacher") or {}).get("cache") is not None:
            text = "the answers of control=shuffled belong to another image of each batch: set it to null"
            yield Problem("teacher.cache", text)
        yield from labels_problem(run, self.kind)
        size, processes = run.tree.get("batch_size"), run.processes or 1
        if run.data is None or type(size) is not int or size < 1:
            return
        alone = (1 - 1 / run.data.classes) ** (size // processes - 1)
        if alone > KEPT:
            yield Problem(
                "control",
                f"shuffled: of {size // processes} images of {run.data.classes} classes {alone:.0%} would be alone "
                "in their class and keep their own answer: raise batch_size",
            )

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the teacher with its answers shuffled."""
        teacher = source(tree)
        if teacher is None:
            return None
        self._taught = ShuffledTeacher(teacher.extractor, teacher.name, int(tree["seed"]))
        return self._taught

    def report(self) -> dict[str, Any]:
        """Give what this process has counted."""
        counted = self._taught.counted() if self._taught is not None else {}
        return {"kind": self.kind, "matched": ["class", "answers"], **counted}


class ShuffledTeacher(Teacher):
    """Gives the answers for another image of the same class; the choice depends on (seed, step) and the batch alone."""

    def __init__(self, extractor: Extractor, name: str, seed: int) -> None:
        super().__init__(extractor, name)
        self.seed = seed
        self._sums: Tensor | None = None  # images, those with another's answer, agreement of the labels

    def answer(self, batch: Batch, step: int) -> Features:
        """Give each image the answers of its partner."""
        source = partners(batch.target, batch.index, self.seed, step)
        self._count(batch, source)
        return rows(self(batch.teacher_image), source)

    def counted(self) -> dict[str, Any]:
        """Give the number of images so far, the share with another's answers and the mean agreement of labels."""
        if self._sums is None:
            return {"images": 0}
        images, others, agreement = self._sums.tolist()
        return {"images": int(images), "of_another": others / images, "label_agreement": agreement / images}

    def _count(self, batch: Batch, source: Tensor) -> None:
        target = batch.target
        same = torch.minimum(target, target[source]).sum() if target.ndim == 2 else (target == target[source]).sum()
        others = (batch.index != batch.index[source]).sum()
        sums = torch.stack([others.new_tensor(len(source)), others, same]).double()
        self._sums = sums if self._sums is None else self._sums + sums


def partners(target: Tensor, index: Tensor, seed: int, step: int) -> Tensor:
    """Give for each row of a batch the row whose answer it gets, ``(B,)``: a permutation within each class.

    The images of a class form a circle in random order, with the copies of one image (``loader.repeats``) next to each
    other. Each image gets the answer of the one that is as many places further as there are copies. That is another
    image if the class has at least two and the copies leave room.

    Args:
        target: ``(B,)`` classes, or ``(B, C)`` shares of which the largest counts.
        index: ``(B,)`` positions of the images in the training set.
        seed: Of the run.
        step: Of training.
    """
    label = target.argmax(1) if target.ndim == 2 else target
    key = label * (index.max() + 1) + index
    _, image, copies = torch.unique(key, return_inverse=True, return_counts=True)
    draw = torch.from_numpy(stream(Stream.PARTNER, seed, step=step).permutation(len(copies))).to(label.device)
    order = draw[image].argsort(stable=True)
    order = order[label[order].argsort(stable=True)]  # by class, within it by draw
    classes = label[order]
    size = torch.bincount(label)
    start = (size.cumsum(0) - size)[classes]
    shift = torch.zeros_like(size).scatter_reduce(0, label, copies[image], "amax")[classes]
    place = torch.arange(len(order), device=label.device)
    source = torch.empty_like(order)
    source[order] = order[start + (place - start + shift) % size[classes]]
    return source


def rows(features: Features, source: Tensor) -> Features:
    """Give the features of the rows ``source``."""
    moved = {f.name: _rows(f.name, getattr(features, f.name), source) for f in fields(features)}
    return replace(features, **moved)


def _rows(name: str, value: Any, source: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_rows(name, one, source) for one in value)
    if not isinstance(value, Tensor):
        return value
    return value.index_select(1 if name == "qkv" else 0, source)  # qkv has the batch second
