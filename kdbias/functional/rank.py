"""How high a network ranks the right class among all classes."""

from __future__ import annotations

from torch import Tensor


def reciprocal_rank(logits: Tensor, target: Tensor) -> Tensor:
    """Give 1 / rank of the right class among the sorted logits: ``(n, C)`` and ``(n,)`` int64 to ``(n,)`` float64.

    The class with the highest logit has rank 1. Equal logits are ranked by the number of the class, so a network that
    gives one logit to all classes has the mean that guesses have, if the classes are equally frequent.

    >>> import torch
    >>> reciprocal_rank(torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]]), torch.tensor([2, 1]))
    tensor([0.5000, 0.3333], dtype=torch.float64)

    Raises:
        ValueError: the shapes do not fit.

    Source: Kim et al. 2026, REFINED-BIAS, ``mrr_acc``, whose mean over images this is. There, equal logits are ranked
    by the sorting, and the logits of several ImageNet classes may be one class.
    """
    if logits.ndim != 2 or logits.shape[:1] != target.shape:
        raise ValueError(f"expected logits (n, C) and classes (n,), got {tuple(logits.shape)}, {tuple(target.shape)}")
    order = logits.argsort(dim=1, descending=True, stable=True)
    rank = (order == target[:, None]).double().argmax(1) + 1
    found: Tensor = 1 / rank.double()
    return found


def chance_reciprocal_rank(classes: int) -> float:
    """Give the mean reciprocal rank of guesses: H_C / C, with the harmonic number H_C = 1 + 1/2 + ... + 1/C.

    >>> round(chance_reciprocal_rank(10), 3)
    0.293
    """
    return sum(1 / rank for rank in range(1, classes + 1)) / classes
