"""Redundancy suppression: each feature of the student follows one of the teacher and no other."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.precision import full_precision, without_autocast

EPS = 1e-5  # added to the standard deviation, as published


def rsd(student: Tensor, teacher: Tensor, kappa: float = 0.01) -> Tensor:
    """Give the sum over i of (K_ii - 1)² plus kappa times the sum over i ≠ j of K_ij², K the cross-correlation.

    ``student`` and ``teacher`` are features ``(B, D)`` of the same images, B >= 2; each feature is normalised over
    the batch, K = teacherᵀ student / B is ``(D, D)``. The result is a scalar >= 0, a sum over features and not a mean.
    A feature that is constant over the batch has correlation 0 and gets no gradient.

    Raises:
        ValueError: the shapes differ or are not ``(B, D)``, or fewer than 2 images.

    Source: Zhang et al., ICCV 2025, arXiv:2507.21844.

    >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(rsd(x, x).item(), 4), round(rsd(x.flip(1), x).item(), 4)  # the second: 2 + kappa 2
    (0.0, 2.02)
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            "expected student and teacher features of one shape (B, D), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if len(student) < 2:
        raise ValueError(f"rsd correlates over the images of a batch and got {len(student)}: raise batch_size")
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        correlation = _normalise(teacher).T @ _normalise(student) / len(student)
        diagonal = correlation.diagonal()
        return (diagonal - 1).square().sum() + kappa * (correlation.square().sum() - diagonal.square().sum())


def _normalise(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=0)
    # The square root has no gradient at 0, so the variance of constant features must stay above 0.
    std = centred.square().mean(dim=0).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
    return centred / (std + EPS)
