"""Distillation from softened logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.precision import full_precision, without_autocast


def soft_kl(
    student: Tensor, teacher: Tensor, temperature: float, reduction: Literal["batchmean", "numel"] = "batchmean"
) -> Tensor:
    """Give tau² KL(softmax(teacher / tau) ‖ softmax(student / tau)), in nats.

    ``student`` and ``teacher`` are logits ``(B, C)``; the result is a scalar >= 0. ``batchmean`` is the mean over
    images; ``numel`` divides by B·C as DeiT's code does, which makes the term C times smaller. tau² keeps the size
    of the gradient when the temperature changes.

    Raises:
        ValueError: the shapes differ or are not ``(B, C)``, ``temperature`` <= 0, or an unknown ``reduction``.

    Source: Hinton, Vinyals, Dean, 2015, arXiv:1503.02531; ``numel``: Touvron et al., 2021, arXiv:2012.12877.

    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    >>> round(soft_kl(q.log(), p.log(), temperature=1.0).item(), 4)  # ln(2 / sqrt(3))
    0.1438
    """
    check_logits(student, teacher)
    check_temperature(temperature)
    if reduction not in ("batchmean", "numel"):
        raise ValueError(f"reduction must be 'batchmean' or 'numel', got {reduction!r}")
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        log_s = F.log_softmax(student / temperature, dim=-1)
        log_t = F.log_softmax(teacher / temperature, dim=-1)
        divisor = student.shape[0] if reduction == "batchmean" else student.numel()
        return F.kl_div(log_s, log_t, reduction="sum", log_target=True) * (temperature**2 / divisor)


def standardize_logits(logits: Tensor, eps: float = 1e-7) -> Tensor:
    """Give the z-scores of each row: zero mean and unit (sample) standard deviation over the classes.

    ``logits`` is ``(B, C)``, C >= 2. The loss is then invariant to the shift and the scale of either network's logits,
    so it transfers only the relations between classes. A row of equal logits gives zeros.

    Raises:
        ValueError: not ``(B, C)`` with C >= 2.

    Source: Sun et al., CVPR 2024, arXiv:2403.01427.

    >>> standardize_logits(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[-1.0000,  0.0000,  1.0000]])
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"expected logits (B, C) with C >= 2, got {tuple(logits.shape)}")
    with without_autocast(logits):
        (logits,) = full_precision(logits)
        centred = logits - logits.mean(dim=-1, keepdim=True)
        # The square root has no gradient at 0, so the sum of squares of equal logits must stay above 0.
        variance = centred.square().sum(dim=-1, keepdim=True) / (logits.shape[1] - 1)
        return centred / (variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() + eps)


def check_logits(student: Tensor, teacher: Tensor) -> None:
    """Raise ``ValueError`` unless both are logits of one shape ``(B, C)`` with B >= 1."""
    if student.ndim != 2 or student.shape != teacher.shape or student.numel() == 0:
        raise ValueError(
            "expected student and teacher logits of one shape (B, C), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )


def check_temperature(temperature: float) -> None:
    """Raise ``ValueError`` unless ``temperature`` is above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
