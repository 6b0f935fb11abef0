"""Contrastive representation distillation on penultimate features, as a loss term with a memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.crd import crd_loss, crd_scores
from kdbias.functional.unit import unit
from kdbias.losses.base import LossTerm, Rows, needed
from kdbias.losses.gather import gather as gathered
from kdbias.losses.negatives import ByClass
from kdbias.models.features import Features, NetworkInfo

Positive = Literal["exact", "relax"]


@builder("loss")
class CRD(LossTerm):
    """Each network tells an image's entry in the other's bank from the entries of images of other classes.

    Both networks' penultimate features go through a trained Linear to ``dim`` and are scaled to length 1. A bank of
    each network remembers an embedding of every training image. The loss of both sides is added, with the student and
    with the teacher as the anchor; each is a mean over anchors and a sum over ``negatives``. Scores read the banks from
    before the step. Z of each side, n times the mean score, is that of the first step, of all processes' images.

    Args:
        weight: beside CE at 1.
        negatives: drawn for each image, as in ``ByClass.draw``.
        temperature: of the scores.
        momentum: the part of a bank's entry that an update keeps.
        dim: the width of the embeddings.
        positive: ``exact`` is the image's own entry, ``relax`` that of any image of its class. The entry that is
            updated is its own in both.
        z_momentum: the part of Z that later steps keep; None keeps all of it.

    Raises:
        ValueError: an argument is out of range; a batch of mixed images; the classes of the training images are unknown
            (``take_classes`` was not called) or do not fit the data.

    Source: Tian, Krishnan, Isola, ICLR 2020, arXiv:1910.10699; code HobbitLong/RepDistiller, ``crd/``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"pooled", "hard_target"})
    gather: ClassVar[bool] = True  # Z is a mean over the images of all processes
    bank_student: Tensor
    bank_teacher: Tensor
    z: Tensor

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 0.8,
        negatives: int = 16_384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 128,
        positive: Positive = "exact",
        z_momentum: float | None = None,
    ) -> None:
        super().__init__(weight)
        self.negatives, self.temperature, self.momentum, self.dim = negatives, temperature, momentum, dim
        self.relax, self.z_momentum = positive == "relax", z_momentum
        self._images: ByClass | None = None

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Make the embeddings, and the banks with the same first values in every process."""
        if data.classes < 2:
            raise ValueError("loss.crd draws negatives of other classes, and the data has one class: leave crd out")
        self.embed_student = nn.Linear(student.width, self.dim)
        self.embed_teacher = nn.Linear(needed(teacher, "a teacher").width, self.dim)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("bank_student", _first_bank(data.train, self.dim, generator))
        self.register_buffer("bank_teacher", _first_bank(data.train, self.dim, generator))
        self.register_buffer("z", torch.zeros(2))  # of student and teacher as anchor; 0 until the first step

    def take_classes(self, classes: Tensor) -> None:
        """Learn which training images are negatives of which.

        Raises:
            ValueError: there is not one class for each entry of the banks, or all are the same.
        """
        if len(classes) != len(self.bank_student):
            raise ValueError(
                f"loss.crd has banks of {len(self.bank_student)} training images and got the classes of {len(classes)}"
            )
        self._images = ByClass(classes)

    def draw(self, index: Tensor) -> Tensor:
        """Give the entries ``(B, 1 + negatives)`` that the images at ``index`` are compared with; column 0 positive."""
        if self._images is None:
            raise ValueError(
                "loss.crd does not know the classes of the training images, and draws negatives of other classes: "
                "train with a data module of kdbias, or call take_classes(labels) before the first step"
            )
        self._images = self._images.to(index.device)
        return self._images.draw(index, self.negatives, self.relax)

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss in nats, a scalar: the sum of both sides."""
        if batch.target.ndim != 1:
            raise ValueError("loss.crd needs hard labels, and MixUp or CutMix makes them soft: choose augment=light")
        ours = unit(self.embed_student(student.pooled))
        theirs = unit(self.embed_teacher(needed(teacher, "a teacher").pooled))
        indices = self.draw(batch.index)
        sides = [
            crd_scores(ours, self.bank_teacher, indices, self.temperature),
            crd_scores(theirs, self.bank_student, indices, self.temperature),
        ]
        means = torch.stack([scores.detach().mean(1) for scores in sides], dim=1)
        n = len(self.bank_student)
        z = torch.where(self.z == 0, n * gathered(means).mean(0), self.z)
        losses = [crd_loss(scores / one, n) for scores, one in zip(sides, z, strict=True)]
        self.report = {"student": losses[0].detach(), "teacher": losses[1].detach()}
        self.pending = {"index": batch.index, "student": ours, "teacher": theirs, "scores": means}
        return losses[0] + losses[1]

    def update(self, rows: Rows) -> None:
        """Move the images' own entries towards their embeddings; set Z in the first step."""
        index = rows["index"]
        last = _last_copy(index, len(self.bank_student))
        for bank, embedding in ((self.bank_student, rows["student"]), (self.bank_teacher, rows["teacher"])):
            moved = self.momentum * bank[index] + (1 - self.momentum) * embedding
            bank[index] = unit(moved)[last]
        found = len(self.bank_student) * rows["scores"].mean(0)
        kept = self.z_momentum
        later = self.z if kept is None else kept * self.z + (1 - kept) * found
        self.z.copy_(torch.where(self.z == 0, found, later))


def _first_bank(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Give ``(count, dim)`` uniform in ±1/√(dim/3), of length about 1; without values on the meta device."""
    bank = torch.empty(count, dim)
    bound = 1 / math.sqrt(dim / 3)
    return bank if bank.is_meta else bank.uniform_(-bound, bound, generator=generator)


def _last_copy(index: Tensor, count: int) -> Tensor:
    """Give for each row of ``index`` ``(B,)`` the last row with the same image.

    With ``loader.repeats`` a step can have an image more than once. Writing the same value for all its copies makes the
    result independent of the order of the writes.
    """
    rows = torch.arange(len(index), device=index.device)
    return rows.new_zeros(count).scatter_reduce_(0, index, rows, "amax")[index]
