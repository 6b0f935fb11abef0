"""Gram matrices of tokens: which places of an image look alike."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.unit import cosine_gram


def gram_distance(student: Tensor, teacher: Tensor, frobenius: bool = False) -> Tensor:
    """Give the mean squared difference ``(...)`` of the cosine Gram matrices of two sets of tokens.

    ``student`` is ``(..., n, d1)``, ``teacher`` ``(..., n, d2)``; leading axes are a batch of comparisons. The value is
    in [0, 4] and invariant to a rotation of either side and to the length of every token. ``frobenius`` gives
    |G_s - G_t|_F / n² instead: the square root of the same, n times smaller.

    Raises:
        ValueError: the shapes do not hold the same n tokens.

    Source: Gatys et al., CVPR 2016 (Gram matrices of features); Siméoni et al., 2025, arXiv:2508.10104 ("Gram
    anchoring" of unit tokens).

    >>> gram_distance(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2))  # 2 of 4 entries are 1 instead of 0
    tensor(0.5000)
    """
    if student.ndim < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            "expected tokens (..., n, d1) and (..., n, d2) of the same n, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        difference = cosine_gram(student) - cosine_gram(teacher)
        if frobenius:
            length: Tensor = torch.linalg.matrix_norm(difference)
            return length / difference.shape[-1] ** 2
        return difference.square().mean((-2, -1))
