"""CAPD: a convolutional student learns the attention, the values, the tokens and the answer of a transformer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.functional.precision import without_autocast
from kdbias.losses.schedule import Schedule
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.modules.capd_adversary import Adversary, adversary_loss, deceiving_loss
from kdbias.modules.capd_adversary import adversary as make_adversary
from kdbias.modules.capd_projectors import Projector
from kdbias.modules.capd_terms import TERMS, Comparison, Found, Matched
from kdbias.modules.manual import ManualSteps, detached
from kdbias.modules.taught import Taught

JUDGED = {"mlp": "tokens", "patchgan": "attention"}  # the term whose sides each adversary sees


@builder("module")
class CAPD(ManualSteps, Taught):
    """Train a CNN by cross-entropy and, with a weight that rises from 0, by what a vision transformer shows it.

    The loss is CE + w(progress) · Σ weights[term] · term. The terms: ``attention``, the squared distance of rows of
    softmax(QKᵀ/√d); ``values``, the MSE of VVᵀ/√d; ``logits``, their MSE; ``class_token``, the MSE of penultimate
    features; ``tokens``, the MSE of group-wise projected tokens to the teacher's, normalised; ``adversary``, how far
    the student is from deceiving a third network, which learns to tell the two apart. Only the student's side is
    projected. While w is 0, neither the teacher nor the third network takes part.

    Args:
        spec, teacher: as for ``Taught``; the teacher is a vision transformer and the student has no attention.
        weight: w, a number or a schedule of ``kdbias.losses.schedule``.
        weights: of the terms; one that is left out, or 0, is not computed.
        label_smoothing: of the cross-entropy.
        layer: the student's layer that is compared, by its number, or ``nearest`` to the teacher's grid.
        projector: of the student's map to queries, keys and values: ``conv`` or ``linear``.
        partial: replace each element of these by the teacher's with a probability of one half.
        matched: ``attention``, or the ``logits`` QKᵀ/√d before the softmax, whose MSE is then taken.
        group: side of the squares of positions that share a projection of tokens.
        dropout: of the projected tokens.
        adversary: ``mlp`` on tokens, ``patchgan`` on the matched maps, or ``none``.
        adversary_hidden: width of the MLP.
        adversary_lr: its learning rate, as a part of the student's.

    Raises:
        ArgumentError: networks or arguments that it cannot work with.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273; docs/paper-code-ours.md lists what differs
    from paper and code.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "qkv", "tokens"})
    aligned: ClassVar[bool] = True

    def __init__(
        self,
        spec: dict[str, Any],
        teacher: Teacher | None,
        *,
        weight: float | Mapping[str, Any],
        weights: Mapping[str, float],
        label_smoothing: float = 0.1,
        layer: int | Literal["nearest"] = "nearest",
        projector: Projector = "conv",
        partial: bool = True,
        matched: Matched = "attention",
        group: int = 4,
        dropout: float = 0.0,
        adversary: Adversary = "mlp",
        adversary_hidden: int = 256,
        adversary_lr: float = 0.1,
    ) -> None:
        super().__init__(spec, teacher)
        _require_families(self.student, self.teacher.extractor)
        self.schedule, self.weights = _schedule(weight), _weights(weights, adversary)
        self.label_smoothing, self.adversary_lr = label_smoothing, adversary_lr
        self.judged = JUDGED.get(adversary, "") if "adversary" in self.weights else ""
        self.comparison = Comparison(
            self.student.info,
            self.teacher.extractor,
            {*self.weights, self.judged},
            layer=layer,
            projector=projector,
            partial=partial,
            matched=matched,
            group=group,
            dropout=dropout,
        )
        positions = self.comparison.grid[0] * self.comparison.grid[1]
        kind: Adversary = adversary if "adversary" in self.weights else "none"
        self.adversary = make_adversary(kind, self.teacher.info.layers[-1].width, adversary_hidden, positions)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Train on one batch; give the student's loss, detached."""
        weight = self.schedule(self.progress)
        student = self.student(batch.image)
        logits = student.logits.float()
        target = batch.target.float() if batch.target.is_floating_point() else batch.target
        loss = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        parts, opposing = {"ce": loss.detach()}, None
        if weight > 0:
            found = self.comparison(student, self.teacher.answer(batch, self.global_step))
            terms, opposing = self.judge(found)
            loss = loss + weight * sum(self.weights[name] * term for name, term in terms.items())
            parts |= {name: term.detach() for name, term in terms.items()}
        if opposing is not None:
            parts["adversary_loss"] = opposing.detach()
        self.record(loss, parts)
        if batch.target.ndim == 1:  # accuracy on mixed images means nothing
            self.train_accuracy.update(logits.detach(), batch.target)
        if self.logs_step(batch_idx):
            self.log_step(loss, parts, len(batch.image))
            self.log("weight/capd", weight, batch_size=len(batch.image))
        whole = loss if weight > 0 else loss + self._resting()
        self.descend(whole if opposing is None else whole + opposing, oppose=opposing is not None)
        return loss.detach()

    def judge(self, found: Found) -> tuple[dict[str, Tensor], Tensor | None]:
        """Give the weighted terms, ``adversary`` among them, and the adversary's own loss, None without one."""
        terms = {name: term for name, term in found.terms.items() if name in self.weights}
        if self.adversary is None:
            return terms, None
        mine, theirs = cast(tuple[Tensor, Tensor], found.tokens if self.judged == "tokens" else found.maps)
        with without_autocast(mine):
            terms["adversary"] = deceiving_loss(detached(self.adversary, mine))
            return terms, adversary_loss(self.adversary(theirs), self.adversary(mine.detach()))

    def _resting(self) -> Tensor:
        """Give 0, with a gradient of 0 for all but the student: DDP raises an error at a parameter without one."""
        parts = [self.comparison, *([] if self.adversary is None else [self.adversary])]
        zero = torch.zeros((), device=self.device)
        return sum((0.0 * p.sum() for part in parts for p in part.parameters()), start=zero)


def _require_families(student: Extractor, teacher: Extractor) -> None:
    """Refuse a student that has attention of its own, and a teacher of other classes."""
    if student.info.attends:
        text = "CAPD makes attention for a network that has none, and this one has: choose a CNN, as small_cnn"
        raise ArgumentError("model", text)
    if teacher.info.classes != student.info.classes:
        text = f"CAPD compares logits, of {teacher.info.classes} classes here and {student.info.classes} of the student"
        raise ArgumentError("teacher", f"{text}: choose one for this data")


def _schedule(weight: float | Mapping[str, Any]) -> Schedule:
    try:
        schedule = Schedule.of(weight)
    except ValueError as error:
        raise ArgumentError("weight", str(error)) from error
    if not any(schedule(step / 100) for step in range(101)):
        raise ArgumentError("weight", "stays 0, so the teacher would teach nothing: let it rise")
    return schedule


def _weights(weights: Mapping[str, float], adversary: Adversary) -> dict[str, float]:
    """The terms that are computed, with their weights."""
    names = (*TERMS, "adversary")
    for name, value in weights.items():
        if name not in names:
            raise ArgumentError(f"weights.{name}", f"there is no such term; there are {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ArgumentError(f"weights.{name}", f"must be a number of at least 0, got {value!r}")
    used = {name: float(weights[name]) for name in names if weights.get(name)}
    if adversary == "none":
        used.pop("adversary", None)
    if not used:
        raise ArgumentError("weights", "all are 0, so the teacher would teach nothing: raise one")
    return used
