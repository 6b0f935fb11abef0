"""Weighted nearest neighbours: how well features separate the classes without training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_temperature
from kdbias.functional.precision import full_precision, without_autocast

CHUNK = 1024  # queries at a time: a block of (CHUNK, bank) similarities


@torch.no_grad()
def weighted_knn(
    bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Give scores ``(n, classes)``: the k nearest of ``bank`` vote for their class, each with exp(cosine / tau).

    ``bank`` is ``(m, D)`` with classes ``labels`` ``(m,)``, ``queries`` ``(n, D)``. If the bank has fewer than k
    images, all of them vote.

    Raises:
        ValueError: widths or counts do not fit, k < 1, or ``temperature`` <= 0.

    Source: Wu et al., CVPR 2018, arXiv:1805.01978 (k = 200 on ImageNet; 20 is usual since DINO).

    >>> bank = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> weighted_knn(bank, torch.tensor([0, 0, 1]), torch.tensor([[0.1, 2.0]]), classes=2, k=1).argmax(1).item()
    1
    """
    check_temperature(temperature)
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or len(bank) != len(labels) or k < 1:
        raise ValueError(
            "expected a bank (m, D) with m labels, queries (n, D) and k >= 1, got "
            f"{tuple(bank.shape)}, {tuple(labels.shape)}, {tuple(queries.shape)} and {k}"
        )
    with without_autocast(bank):
        bank, queries = (F.normalize(x, dim=1) for x in full_precision(bank, queries))
        return torch.cat([_votes(bank, labels, x, classes, k, temperature) for x in torch.split(queries, CHUNK)])


def _votes(bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    near = (queries @ bank.T).topk(min(k, len(bank)), dim=1)
    votes = (near.values / temperature).exp()
    return votes.new_zeros(len(queries), classes).scatter_add_(1, labels[near.indices], votes)
