"""SimCLR's contrastive loss: identify the two views of an image among the views of all images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_temperature
from kdbias.functional.precision import full_precision, without_autocast


def nt_xent(one: Tensor, two: Tensor, temperature: float = 0.2) -> Tensor:
    """Give the cross-entropy in nats of identifying each view's partner among the other 2B - 1, by cosine over tau.

    ``one`` and ``two`` are embeddings ``(B, D)`` of two views of the same B images; the result is a scalar, a mean
    over the 2B views. Embeddings that are all alike give log(2B - 1).

    Raises:
        ValueError: shapes differ or are not ``(B, D)``, B < 2, or ``temperature`` <= 0.

    Source: Chen et al., ICML 2020, arXiv:2002.05709, equation 1.

    >>> one = torch.eye(2)
    >>> round(nt_xent(one, one, temperature=1.0).item(), 4)  # log(e + 2) - 1
    0.5514
    """
    with without_autocast(one):
        similarity = pair_similarities(one, two) / _checked(temperature)
        return F.cross_entropy(similarity, partners(len(one), one.device))


@torch.no_grad()
def pair_accuracy(one: Tensor, two: Tensor) -> Tensor:
    """Give the share of the 2B views whose nearest view is their partner, in 0..1, a scalar.

    ``one`` and ``two`` are ``(B, D)``, as for ``nt_xent``.
    """
    with without_autocast(one):
        nearest = pair_similarities(one, two).argmax(1)
        return (nearest == partners(len(one), one.device)).float().mean()


def pair_similarities(one: Tensor, two: Tensor) -> Tensor:
    """Give the cosine similarities ``(2B, 2B)`` of all views, those of ``one`` first, -inf of a view with itself."""
    if one.ndim != 2 or one.shape != two.shape or len(one) < 2:
        raise ValueError(
            "expected embeddings of two views of at least 2 images, (B, D) each, "
            f"got {tuple(one.shape)} and {tuple(two.shape)}"
        )
    views = F.normalize(torch.cat(full_precision(one, two)), dim=1)
    return (views @ views.T).fill_diagonal_(-torch.inf)


def partners(count: int, device: torch.device) -> Tensor:
    """Give the row ``(2B,)`` of each view's partner, with the views of B images concatenated."""
    return torch.arange(2 * count, device=device).roll(count)


def _checked(temperature: float) -> float:
    check_temperature(temperature)
    return temperature
