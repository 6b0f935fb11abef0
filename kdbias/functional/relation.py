"""Rows of similarities between samples, compared as distributions between two networks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_temperature
from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.unit import cosine_gram


def relation_kl(student: Tensor, teacher: Tensor, temperature: float = 0.1, diagonal: bool = False) -> Tensor:
    """Give KL(softmax(C_t / tau) ‖ softmax(C_s / tau)) ``(...)`` in nats, a mean over the rows of cosine similarities.

    ``student`` ``(..., n, d1)`` and ``teacher`` ``(..., n, d2)`` hold the same n samples in any two widths; leading
    axes are a batch of comparisons. A sample's similarity with itself is 1 in every network. It is left out
    unless ``diagonal``, because at tau = .1 it takes nearly all of the probability. No factor tau².

    Raises:
        ValueError: shapes, ``temperature`` <= 0, or too few samples to choose between two others: n < 3, or n < 2 with
            ``diagonal``.

    Source: Passalis and Tefas, ECCV 2018, arXiv:1803.10837 (rows of similarities as distributions).

    >>> import torch
    >>> student, teacher = torch.eye(3), torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> relation_kl(student, teacher, temperature=1.0)  # two rows of three: ln 2 - H(e / (e + 1))
    tensor(0.0740)
    """
    check_temperature(temperature)
    if student.ndim < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            "expected samples (..., n, d1) and (..., n, d2) of the same n, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    n, least = student.shape[-2], 2 if diagonal else 3
    if n < least:
        raise ValueError(f"relations need at least {least} samples, got {n}")
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        rows = [cosine_gram(x) / temperature for x in (student, teacher)]
        if not diagonal:
            rows = [_without_diagonal(gram) for gram in rows]
        log_s, log_t = (F.log_softmax(gram, dim=-1) for gram in rows)
        return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1).mean(-1)


def _without_diagonal(gram: Tensor) -> Tensor:
    """Give ``(..., n, n - 1)``: every row without its own entry, in order."""
    *leading, n, _ = gram.shape
    between = gram.flatten(-2)[..., 1:].reshape(*leading, n - 1, n + 1)[..., :-1]
    return between.reshape(*leading, n, n - 1)
