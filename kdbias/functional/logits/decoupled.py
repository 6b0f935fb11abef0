"""Decoupled knowledge distillation: separate weights for the target class and the other classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_logits, check_temperature
from kdbias.functional.precision import full_precision, without_autocast


def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Give tau² (alpha TCKD + beta NCKD), the mean over images, in nats.

    ``student`` and ``teacher`` are logits ``(B, C)``, C >= 2, ``target`` the labels ``(B,)`` int64; the result is a
    scalar >= 0. TCKD is the KL between (target, not target), NCKD the KL between the distributions over the other
    classes. With p the teacher's probability of the target, KL = TCKD + (1 - p) NCKD; a fixed ``beta`` undoes the
    damping by 1 - p.

    Raises:
        ValueError: shapes or temperature as for ``soft_kl``, C < 2, or labels that are not ``(B,)`` integers (mixed
            images have no single target class).

    Source: Zhao et al., CVPR 2022, arXiv:2203.08679.

    >>> student, teacher = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log()
    >>> dkd(student, teacher, torch.tensor([0]), temperature=1.0)  # two classes: TCKD alone, ln(2 / sqrt(3))
    tensor(0.1438)
    """
    check_logits(student, teacher)
    check_temperature(temperature)
    batch, classes = student.shape
    if classes < 2:
        raise ValueError(f"dkd needs at least 2 classes, got logits {tuple(student.shape)}")
    if target.shape != (batch,) or target.is_floating_point():
        raise ValueError(
            f"dkd needs hard labels ({batch},) int64, got {tuple(target.shape)} {target.dtype}; "
            "switch MixUp and CutMix off"
        )
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        others = _other_classes(target, classes)
        tckd = _kl(
            _target_or_not(student / temperature, target, others), _target_or_not(teacher / temperature, target, others)
        )
        log_s = F.log_softmax((student / temperature).gather(1, others), dim=1)
        log_t = F.log_softmax((teacher / temperature).gather(1, others), dim=1)
        return (alpha * tckd + beta * _kl(log_s, log_t)) * temperature**2


def _other_classes(target: Tensor, classes: int) -> Tensor:
    """Give ``(B, C - 1)``: for each image the classes that are not its target, in order."""
    index = torch.arange(classes - 1, device=target.device).expand(len(target), -1)
    return index + (index >= target[:, None])


def _target_or_not(logits: Tensor, target: Tensor, others: Tensor) -> Tensor:
    """Give ``(B, 2)``: the log probabilities of the target class and of all others together."""
    log_p = F.log_softmax(logits, dim=1)
    return torch.cat([log_p.gather(1, target[:, None]), log_p.gather(1, others).logsumexp(1, keepdim=True)], dim=1)


def _kl(log_s: Tensor, log_t: Tensor) -> Tensor:
    return F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
