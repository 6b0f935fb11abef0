"""DINO's loss: a student predicts the output of its moving average for another view, without labels or negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.logits.kl import check_temperature
from kdbias.functional.precision import full_precision, without_autocast


def dino_targets(teacher: Tensor, center: Tensor, temperature: float = 0.04) -> Tensor:
    """Give softmax((teacher - center) / tau) ``(..., K)``: centred, against a single prototype for all, and sharpened.

    ``teacher`` are scores ``(..., K)`` and ``center`` ``(K,)`` their running mean.
    """
    check_temperature(temperature)
    with without_autocast(teacher):
        teacher, center = full_precision(teacher.detach(), center)
        return ((teacher - center) / temperature).softmax(-1)


def dino_loss(student: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Give the cross-entropy in nats between the targets of one view and the student's answer to another, a mean.

    ``student`` are scores ``(V, B, K)`` of V >= 2 views, ``targets`` probabilities ``(T, B, K)`` of the first T;
    a view is not compared with itself.

    Raises:
        ValueError: the shapes do not fit, there is one view, or ``temperature`` <= 0.

    Source: Caron et al., ICCV 2021, arXiv:2104.14294.

    >>> scores = torch.zeros(2, 3, 4)
    >>> round(dino_loss(scores, dino_targets(scores, torch.zeros(4))).item(), 4)  # log 4
    1.3863
    """
    check_temperature(temperature)
    if student.ndim != 3 or len(student) < 2 or len(targets) > len(student) or student.shape[1:] != targets.shape[1:]:
        raise ValueError(
            "expected scores (V, B, K) of at least 2 views and targets (T, B, K) of T <= V of them, "
            f"got {tuple(student.shape)} and {tuple(targets.shape)}"
        )
    with without_autocast(student):
        student, targets = full_precision(student, targets)
        pairs = -torch.einsum("tbk,vbk->tv", targets, (student / temperature).log_softmax(-1)) / student.shape[1]
        return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - len(targets))


def moved_center(center: Tensor, teacher: Tensor, momentum: float = 0.9) -> Tensor:
    """Give momentum · ``center`` + (1 - momentum) · mean of the scores ``teacher``: ``(K,)`` of ``(..., K)``."""
    teacher, center = full_precision(teacher.detach(), center)
    return momentum * center + (1 - momentum) * teacher.flatten(0, -2).mean(0)
