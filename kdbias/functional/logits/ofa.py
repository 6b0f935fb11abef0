"""Distillation between different architectures: the teacher's probabilities with the target class enhanced."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_logits, check_temperature
from kdbias.functional.precision import full_precision, without_autocast


def ofa(student: Tensor, teacher: Tensor, target: Tensor, gamma: float = 1.0, temperature: float = 1.0) -> Tensor:
    """Give -sum over c of [(p_t + 1_y)^gamma - 1_y] log p_s, the mean over images, in nats.

    ``student`` and ``teacher`` are logits ``(B, C)``; ``target`` is ``(B,)`` int64, or ``(B, C)`` for mixed images,
    of which the class of the larger part counts, as in the official code. With ``gamma`` = 1 this is the cross-entropy
    with the teacher's probabilities p_t, whatever the target; above, the target class gains weight against the others.
    The minimum is not 0. There is no factor tau².

    Raises:
        ValueError: shapes or temperature as for ``soft_kl``, ``gamma`` <= 0, or targets of another shape.

    Source: Hao et al., NeurIPS 2023, arXiv:2310.19444.

    >>> import torch
    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    >>> round(ofa(q.log(), p.log(), torch.tensor([0]), gamma=2.0).item(), 4)  # -(1.5² - 1) ln .75 - .5² ln .25
    0.7062
    """
    check_logits(student, teacher)
    check_temperature(temperature)
    if not gamma > 0:
        raise ValueError(f"gamma must be > 0, got {gamma}")
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        mask = _one_hot(target, student)
        enhanced = (F.softmax(teacher / temperature, dim=1) + mask) ** gamma - mask
        return -(enhanced * F.log_softmax(student / temperature, dim=1)).sum(dim=1).mean()


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    if target.shape == like.shape and target.is_floating_point():
        target = target.argmax(dim=1)
    if target.shape != like.shape[:1] or target.is_floating_point():
        raise ValueError(
            f"expected labels ({len(like)},) int64 or {tuple(like.shape)} float, "
            f"got {tuple(target.shape)} {target.dtype}"
        )
    return F.one_hot(target, like.shape[1]).to(like.dtype)
