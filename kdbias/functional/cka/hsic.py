"""HSIC, the covariance of two similarity structures: the two estimators, from Gram matrices and from features.

From Gram matrices ``(n, n)`` it serves any kernel; from centred features ``(n, d)`` the linear kernel without ever
holding n x n numbers. Both give the same; the cheaper one depends on which of n and d is smaller.

Source: Gretton et al., ALT 2005 (biased); Song et al., JMLR 2012 (debiased, eq. 5); Székely and Rizzo, 2014
(U-centring).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["debiased", "biased"]


def centre_gram(gram: Tensor, estimator: Estimator) -> Tensor:
    """Give the Gram matrix ``(..., n, n)`` whose product with another such is HSIC: H K H, or U-centred.

    U-centring takes the diagonal out, and row means such that the product is unbiased; it needs n >= 4.
    """
    n = gram.shape[-1]
    if estimator == "biased":
        return gram - gram.mean(-1, keepdim=True) - gram.mean(-2, keepdim=True) + gram.mean((-2, -1), keepdim=True)
    diagonal = torch.eye(n, dtype=torch.bool, device=gram.device)
    hollow = gram.masked_fill(diagonal, 0.0)
    row, column = hollow.sum(-1, keepdim=True) / (n - 2), hollow.sum(-2, keepdim=True) / (n - 2)
    total = hollow.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return (hollow - row - column + total).masked_fill(diagonal, 0.0)


def hsic_from_grams(centred_k: Tensor, centred_l: Tensor, estimator: Estimator) -> Tensor:
    """Give HSIC ``(...)`` of two Gram matrices ``(..., n, n)`` that ``centre_gram`` made."""
    return (centred_k * centred_l).sum((-2, -1)) / _pairs(centred_k.shape[-1], estimator)


def hsic_from_features(x: Tensor, y: Tensor, estimator: Estimator) -> Tensor:
    """Give HSIC, a scalar, of centred features ``(n, d1)`` and ``(n, d2)`` under the linear kernel.

    With centred features the sums over off-diagonal pairs reduce to squared lengths of the rows.
    """
    n = len(x)
    cross = (x.T @ y).square().sum()
    if estimator == "debiased":
        x_sq, y_sq = x.square().sum(1), y.square().sum(1)
        cross = cross - (x_sq @ y_sq) * (n / (n - 2)) + x_sq.sum() * y_sq.sum() / ((n - 1) * (n - 2))
    return cross / _pairs(n, estimator)


def _pairs(n: int, estimator: Estimator) -> int:
    return (n - 1) ** 2 if estimator == "biased" else n * (n - 3)
