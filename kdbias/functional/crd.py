"""Contrastive distillation: tell an image's entry in a bank of the other network's embeddings from those of others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdbias.functional.logits.kl import check_temperature
from kdbias.functional.precision import full_precision, without_autocast

EPS = 1e-7  # added to the noise, as published


def crd_scores(anchor: Tensor, bank: Tensor, indices: Tensor, temperature: float) -> Tensor:
    """Give the scores exp(<anchor_b, bank_j> / tau) ``(B, 1 + K)`` of the entries j = ``indices[b]``.

    ``anchor`` ``(B, d)`` holds one network's embeddings, ``bank`` ``(n, d)`` the other network's of all n training
    images, both of length about 1; ``indices`` ``(B, 1 + K)`` int64 chooses the positive (column 0) and K negatives.
    No gradient reaches the bank. The product is taken with the whole bank and its scalars are gathered, because
    gathered vectors ``(B, 1 + K, d)`` would be d times larger: about 20 times faster for n = 3 K, slower for n = 80 K.

    Raises:
        ValueError: shapes or types, ``temperature`` <= 0, or one at which the score of equal unit vectors overflows
            (in fp32 below .0113).

    Source: Tian, Krishnan, Isola, ICLR 2020, arXiv:1910.10699.

    >>> bank = torch.eye(3)
    >>> scores = crd_scores(bank[:1], bank, torch.tensor([[0, 2]]), temperature=0.5)
    >>> [round(score, 4) for score in scores[0].tolist()]  # e², e⁰
    [7.3891, 1.0]
    """
    _check_bank(anchor, bank, indices)
    check_temperature(temperature)
    with without_autocast(anchor):
        anchor, bank = full_precision(anchor, bank.detach())
        least = 1 / math.log(torch.finfo(anchor.dtype).max)
        if temperature < least:
            raise ValueError(f"exp(1 / temperature) overflows in {anchor.dtype}: temperature must be >= {least:.4f}")
        return ((anchor / temperature) @ bank.T).gather(1, indices).exp()


def crd_loss(scores: Tensor, n: int) -> Tensor:
    """Give -1/B [sum of log(P⁺ / (P⁺ + K/n + eps)) + sum of log((K/n) / (P⁻ + K/n + eps))], in nats, a scalar.

    ``scores`` ``(B, 1 + K)`` are those of ``crd_scores`` divided by Z, n times the mean score, so that they are about
    1/n by chance; column 0 is the positive. ``n`` counts the entries of the bank: noise draws each with probability
    1/n. The result is a mean over anchors and a sum over their negatives. It is the loss of one anchor side; CRD adds
    both. A positive score of 0 gives infinity.

    Raises:
        ValueError: scores that are not ``(B, 1 + K)`` with K >= 1, or ``n`` < 1.

    Source: Tian, Krishnan, Isola, ICLR 2020, arXiv:1910.10699, with the eps of the official code; noise-contrastive
    estimation: Gutmann and Hyvärinen, AISTATS 2010.

    >>> round(crd_loss(torch.full((1, 3), 0.5), n=4).item(), 3)  # 3 ln 2: all are as probable as noise, K/n = .5
    2.079
    """
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise ValueError(f"expected scores (B, 1 + K) with K >= 1, got {tuple(scores.shape)}")
    if n < 1:
        raise ValueError(f"n must be the number of entries of the bank, >= 1, got {n}")
    with without_autocast(scores):
        (scores,) = full_precision(scores)
        positive, negative = scores[:, 0], scores[:, 1:]
        noise = negative.shape[1] / n
        # The logarithm of a ratio next to 1 keeps few digits of it, and there are K such ratios: log1p keeps them.
        missed = ((noise + EPS) / positive).log1p().sum()
        mistaken = ((negative + EPS) / noise).log1p().sum()
        return (missed + mistaken) / len(scores)


def _check_bank(anchor: Tensor, bank: Tensor, indices: Tensor) -> None:
    if anchor.ndim != 2 or bank.ndim != 2 or anchor.shape[1] != bank.shape[1]:
        raise ValueError(
            "expected embeddings (B, d) and a bank (n, d) of one width, "
            f"got {tuple(anchor.shape)} and {tuple(bank.shape)}"
        )
    if indices.ndim != 2 or len(indices) != len(anchor) or indices.shape[1] < 2 or indices.dtype != torch.int64:
        raise ValueError(
            f"expected indices ({len(anchor)}, 1 + K) int64 with K >= 1, got {tuple(indices.shape)} {indices.dtype}"
        )
