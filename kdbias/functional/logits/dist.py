"""Distillation by correlation: the student's probabilities follow the teacher's up to shift and scale."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_logits, check_temperature
from kdbias.functional.precision import full_precision, widest, without_autocast

EPS = 1e-8  # added to the product of two lengths, as published


def dist(student: Tensor, teacher: Tensor, beta: float = 1.0, gamma: float = 1.0, temperature: float = 4.0) -> Tensor:
    """Give tau² [beta (1 - r between rows) + gamma (1 - r between columns)], r the mean Pearson correlation.

    ``student`` and ``teacher`` are logits ``(B, C)``, C >= 2; the result is a scalar in 0..2 tau² (beta + gamma). Rows
    (inter-class) are the probabilities of one image, columns (intra-class) those of one class over the images, so
    that ``gamma`` needs the whole batch, at least 2 images. A row or column without any variation has correlation 0
    and no gradient.

    Raises:
        ValueError: shapes or temperature as for ``soft_kl``, C < 2, or a single image and ``gamma`` > 0.

    Source: Huang et al., NeurIPS 2022, arXiv:2205.10536.

    >>> z = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0]])
    >>> dist(z, z + 1).abs() < 1e-4
    tensor(True)
    """
    check_logits(student, teacher)
    check_temperature(temperature)
    batch, classes = student.shape
    if classes < 2:
        raise ValueError(f"dist needs at least 2 classes, got logits {tuple(student.shape)}")
    if batch < 2 and gamma > 0:
        raise ValueError(
            "dist correlates over the images of a batch and got 1: raise batch_size, or set loss.dist.gamma=0"
        )
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        # Differences of nearly equal probabilities are small, and fp32 keeps too few of their digits.
        p_s, p_t = (F.softmax(widest(z) / temperature, dim=1) for z in (student, teacher))
        loss = beta * (1 - pearson(p_s, p_t).mean()) + gamma * (1 - pearson(p_s.T, p_t.T).mean())
        return (loss * temperature**2).to(student.dtype)


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Give the correlation ``(n,)`` of each row of ``x`` with that of ``y``, both ``(n, m)``; 0 for a constant row."""
    x, y = _centre(x), _centre(y)
    correlation: Tensor = (x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1) + EPS)
    return correlation


def _centre(x: Tensor) -> Tensor:
    """Give rows of mean 0; one that is constant up to rounding becomes 0, as dividing by it would amplify the noise."""
    centred = x - x.mean(dim=1, keepdim=True)
    floor = 10 * torch.finfo(x.dtype).eps * x.norm(dim=1, keepdim=True)
    return torch.where(centred.norm(dim=1, keepdim=True) > floor, centred, 0.0)
