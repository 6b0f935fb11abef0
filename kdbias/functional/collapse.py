"""Signs of collapsed representations: low effective rank, small deviation, uninformative targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.precision import full_precision, without_autocast


@torch.no_grad()
def effective_rank(features: Tensor) -> Tensor:
    """Give exp of the entropy of the normalised singular values of centred features ``(n, D)``, in 1..min(n - 1, D).

    If all features are equal, the result is 0.

    Source: Roy and Vetterli, EUSIPCO 2007.

    >>> round(effective_rank(torch.cat([torch.eye(3), -torch.eye(3)])).item(), 4)
    3.0
    """
    with without_autocast(features):
        (x,) = full_precision(features)
        values: Tensor = torch.linalg.svdvals(x - x.mean(0))
        total = values.sum()
        if total <= torch.finfo(x.dtype).eps * len(x) * x.norm():  # only the rounding of the mean is left
            return torch.zeros_like(total)
        rank: Tensor = torch.special.entr(values / total).sum().exp()
        return rank


@torch.no_grad()
def feature_std(features: Tensor) -> Tensor:
    """Give the deviation over images of features ``(n, D)`` of length 1, a mean over D, times the root of D.

    0 if all directions are equal, about 1 if they are spread evenly.

    Source: Chen and He, CVPR 2021, arXiv:2011.10566 (figure 2).
    """
    with without_autocast(features):
        (x,) = full_precision(features)
        spread: Tensor = F.normalize(x, dim=1).std(0, correction=0).mean() * x.shape[1] ** 0.5
        return spread


@torch.no_grad()
def entropy_ratios(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Give two entropies of probabilities ``(..., K)`` over log K, each in 0..1: their mean, and that of their mean.

    The first is 1 if each image's target is uniform; the second is 0 if all images have the same prototype. These are
    the two ways in which DINO collapses.
    """
    (p,) = full_precision(targets)
    most = torch.tensor(float(p.shape[-1])).log().to(p)
    p = p.flatten(0, -2)
    return torch.special.entr(p).sum(-1).mean() / most, torch.special.entr(p.mean(0)).sum() / most
