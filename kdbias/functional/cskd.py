"""Distillation place by place: the classes that a CNN's classifier sees at each place of its last map."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_temperature, soft_kl
from kdbias.functional.precision import full_precision, without_autocast


def cskd_target(dense: Tensor, ratio: float) -> Tensor:
    """Give ratio · D + (1 - ratio) · g ``(B, C, h, w)``, g the mean over the places of the dense logits D.

    ``dense`` ``(B, C, h, w)`` are the teacher's logits at each place. ``ratio`` is 1 for local targets alone and 0 for
    the global one at every place; training steps it from 1 to 0. The mean over places stays g at any ratio.

    Raises:
        ValueError: ``dense`` is not ``(B, C, h, w)`` or has no place, or ``ratio`` is outside of 0..1.

    Source: Zhao, Song, Liang, ICCV 2023, arXiv:2307.08500.

    >>> import torch
    >>> cskd_target(torch.tensor([[[[1.0, 3.0]]]]), ratio=0.5)  # the mean is 2
    tensor([[[[1.5000, 2.5000]]]])
    """
    _check_dense(dense, dense)
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be in 0..1, 1 for local and 0 for global targets, got {ratio}")
    with without_autocast(dense):
        (dense,) = full_precision(dense)
        return ratio * dense + (1 - ratio) * dense.mean(dim=(2, 3), keepdim=True)


def cskd_dense(student: Tensor, target: Tensor, hard: bool = True, temperature: float = 1.0) -> Tensor:
    """Give the loss in nats of the student's dense logits under the target's, a scalar.

    ``student`` and ``target`` are logits ``(B, C, h, w)`` on one grid. ``hard`` is the cross-entropy with the target's
    class at each place, a mean over images and places; it has no temperature and no gradient to the target. Otherwise
    tau² KL(softmax(target / tau) ‖ softmax(student / tau)), a mean over images and a **sum** over places, as in the
    official code: h·w times larger.

    Raises:
        ValueError: the shapes differ or are not ``(B, C, h, w)``, ``temperature`` <= 0, or one other than 1 with
            ``hard``.

    Source: Zhao, Song, Liang, ICCV 2023, arXiv:2307.08500.

    >>> import torch
    >>> alike = torch.zeros(1, 2, 2, 2)
    >>> round(cskd_dense(alike, torch.randn(1, 2, 2, 2)).item(), 4)  # ln 2 at every place
    0.6931
    """
    _check_dense(student, target)
    check_temperature(temperature)
    if not hard:
        rows, others = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (student, target))
        return soft_kl(rows, others, temperature) * student.shape[2:].numel()
    if temperature != 1:
        raise ValueError(f"hard targets have no temperature, got {temperature}: set hard to false or temperature to 1")
    with without_autocast(student):
        (student,) = full_precision(student)
        return F.cross_entropy(student, target.argmax(dim=1))


def _check_dense(student: Tensor, target: Tensor) -> None:
    if student.ndim != 4 or student.shape != target.shape or student.numel() == 0:
        raise ValueError(
            "expected dense logits of one shape (B, C, h, w), resampled to one grid, "
            f"got {tuple(student.shape)} and {tuple(target.shape)}"
        )
