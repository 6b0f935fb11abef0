"""SSKD: the student learns the teacher's answers to rotated images, and which image it thinks each of them comes from.

Xu et al., ECCV 2020, arXiv:2006.07114; official code xuguodong03/SSKD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import build, builder
from kdbias.config.errors import ArgumentError
from kdbias.config.spec import Tree
from kdbias.data.base import ImageData
from kdbias.data.rotations import ROTATIONS, Rotations
from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.sskd import sskd_parts
from kdbias.losses.gather import gather
from kdbias.models.features import Features
from kdbias.models.teacher import Teacher
from kdbias.modules.sskd_head import KEY, HeadSettings, contrast, contrastive_head, load_head
from kdbias.modules.sskd_training import ensure_head
from kdbias.modules.taught import Taught

TERMS = ("ce", "kd", "tf", "ss")
WEIGHTS = {"code": (0.1, 0.9, 2.7, 10.0), "paper": (0.1, 0.9, 10.0, 2.7), "supplement": (0.1, 0.9, 3.0, 5.0)}


@builder("module")
class SSKD(Taught):
    """Train a student by labels, and by the teacher's answers to four rotations of every image.

    Both networks see the same views, all of a batch in one forward pass, so that BatchNorm mixes the rotations. The
    module makes them itself from images that nobody has mirrored or cropped: ``augment=none``. The contrastive head of
    the teacher is trained first if ``head.weights`` names none. It stays as it is and is part of the checkpoint, so
    that a resumed run has the same one whatever became of its file.

    Args:
        spec: as for every module.
        teacher: gives logits and features of the views.
        views: the node of ``Rotations``.
        head: the settings of the teacher's head, as in ``HeadSettings``.
        weights: of the terms ``ce``, ``kd``, ``tf`` and ``ss`` of ``sskd_parts``: four numbers, or a name in
            ``WEIGHTS``.
        temperatures: of ``kd``, ``tf`` and ``ss``.
        ratio_tf: share of the rotated images that the teacher gets wrong from which the student learns, 0..1.
        ratio_ss: the same of the similarities.
        gather: compare the images of all processes. If not, each process compares its own and selects among them.

    Raises:
        ArgumentError: an argument is out of range, or the teacher classifies other classes.
        WeightsError: the file of the head is damaged, or another network's.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "pooled", "hard_target"})
    student_needs: ClassVar[frozenset[str]] = frozenset({"logits", "pooled"})
    makes_views: ClassVar[bool] = True

    def __init__(
        self,
        spec: dict[str, Any],
        teacher: Teacher | None,
        *,
        views: Mapping[str, Any],
        head: Mapping[str, Any],
        weights: str | Sequence[float] = "code",
        temperatures: Sequence[float] = (4.0, 4.0, 0.5),
        ratio_tf: float = 1.0,
        ratio_ss: float = 0.75,
        gather: bool = True,
    ) -> None:
        super().__init__(spec, teacher)
        if self.teacher.info.classes != self.info.classes:
            text = (
                f"it has {self.teacher.info.classes or 'no'} classes, the data {self.info.classes}: choose one for it"
            )
            raise ArgumentError("teacher", text, of="module")
        self.weights = _weights(weights)
        self.temperatures = _temperatures(temperatures)
        self.ratios = float(ratio_tf), float(ratio_ss)
        self.views = rotations(views)
        self.gathers = gather
        settings = HeadSettings.of(head)
        if settings.batch_size > self.info.train:
            text = f"no batch is full: set it to at most the {self.info.train} training images"
            raise ArgumentError("head.batch_size", text)
        self.head = contrastive_head(self.student.info.width)
        self.teacher_head = contrastive_head(self.teacher.info.width).requires_grad_(False)
        self.has_head = settings.weights is not None
        if settings.weights is not None:
            load_head(self.teacher_head, settings.weights)

    @classmethod
    def prepared(cls, tree: Tree, teacher: Teacher | None, data: ImageData, device: torch.device) -> Tree:
        """Find the teacher's head, or train it, and give the config that names its file."""
        node = tree["module"]
        settings = HeadSettings.of(node.get("head"))
        if settings.weights is not None or teacher is None:
            return tree
        path = ensure_head(tree, teacher, data, rotations(node["views"]), settings, device)
        return {**tree, "module": {**node, "head": {**(node.get("head") or {}), "weights": str(path)}}}

    def on_fit_start(self) -> None:
        """Start the clock.

        Raises:
            ValueError: the teacher's head is untrained.
        """
        if not self.has_head:
            raise ValueError(f"{KEY}: the teacher's head is untrained: train it by ensure_head, as train.py does")
        super().on_fit_start()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the weighted sum of the four terms on one batch."""
        image = self.rotated(batch.image, batch_idx)
        target, index = (part.repeat_interleave(ROTATIONS, 0) for part in (batch.target, batch.index))
        views = Batch(image, target, index, image)
        teacher = self.teacher.answer(views, self.global_step)
        student = self.student(image)
        loss, parts = self.compare(student, teacher, batch.target)
        self.record(loss, parts)
        self.train_accuracy.update(student.class_logits[::ROTATIONS].detach(), batch.target)
        if self.logs_step(batch_idx):
            self.log_step(loss, parts, len(batch.image))
        return loss

    def seen(self, image: Tensor, step: int) -> Tensor:
        """Give the views ``(4B, C, S, S)`` that the student sees of ``image``."""
        return self.rotated(image, step)

    def rotated(self, image: Tensor, step: int) -> Tensor:
        """Make the views ``(4B, C, S, S)`` of ``image``, drawn for the global batch and sliced by process."""
        first = self.global_rank * len(image)
        count = self.trainer.world_size * len(image)
        draws = self.views.draw(count, int(self.spec["seed"]), self.current_epoch, step)
        return self.views.view(image, draws.take(slice(first, first + len(image))))

    def compare(self, student: Features, teacher: Features, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss, and to log: its terms, unweighted, and the share of rotated images that the student finds.

        The features are those of the views ``(4B, ...)``, ``target`` ``(B,)`` are the classes of the images.
        """
        with without_autocast(student.pooled):
            given = full_precision(student.logits, teacher.logits, student.pooled, teacher.pooled)  # type: ignore[arg-type]
            outputs = given[0], given[1], self.head(given[2]), self.teacher_head(given[3]), target
            if self.gathers:
                outputs = cast(tuple[Tensor, Tensor, Tensor, Tensor, Tensor], tuple(gather(one) for one in outputs))
            terms = sskd_parts(*outputs, *self.ratios, self.temperatures)
            loss = sum((weight * terms[name] for name, weight in self.weights.items()), start=_resting(student))
            with torch.no_grad():
                pairs = contrast(outputs[2])[1]
        return loss, {**{name: term.detach() for name, term in terms.items()}, "pairs": pairs}


def rotations(node: Mapping[str, Any]) -> Rotations:
    """Build the views of a node.

    Raises:
        ArgumentError: they are not rotations.
    """
    try:
        views = build(node, group="views")
    except ArgumentError as error:
        raise ArgumentError(f"views.{error.argument}", error.text) from error
    if not isinstance(views, Rotations):
        raise ArgumentError("views", f"must be Rotations, the four views that are compared, got {node['_target_']}")
    return views


def _resting(student: Features) -> Tensor:
    """Give 0 with a gradient of 0 for both heads of a student with two, of which its logits may read one alone.

    DDP raises an error at a parameter without gradient.
    """
    heads: list[Any] = [] if student.distill_logits is None else [student.class_logits, student.distill_logits]
    return sum((0.0 * head.float().sum() for head in heads), start=student.pooled.new_zeros(()).float())


def _weights(weights: str | Sequence[float]) -> dict[str, float]:
    found = WEIGHTS.get(weights, ()) if isinstance(weights, str) else tuple(weights)
    if len(found) != len(TERMS) or not all(type(one) in (int, float) and 0 <= one < 1e12 for one in found):
        text = f"must be {', '.join(WEIGHTS)}, or four numbers of at least 0, for {', '.join(TERMS)}, got {weights!r}"
        raise ArgumentError("weights", text)
    if not any(found):
        raise ArgumentError("weights", "are all 0, so that nothing is learnt")
    return dict(zip(TERMS, map(float, found), strict=True))


def _temperatures(given: Sequence[float]) -> tuple[float, float, float]:
    if len(given) != 3 or not all(type(one) in (int, float) and 0 < one < 1e12 for one in given):
        raise ArgumentError("temperatures", f"must be three numbers above 0, of kd, tf and ss, got {given!r}")
    kd, tf, ss = map(float, given)
    return kd, tf, ss
