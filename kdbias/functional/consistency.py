"""Whether two networks err on the same images more often than their accuracies predict."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def error_consistency(right: Tensor, other: Tensor) -> Tensor:
    """Give Cohen's kappa of the correctness of two networks: (c_obs - c_exp) / (1 - c_exp).

    ``right`` and ``other`` are ``(n,)`` bool, on the same images. c_obs is the share of images on which both are
    right or both are wrong, c_exp = p q + (1 - p)(1 - q) that of independent networks with the accuracies p and q. The
    result is a float64 scalar in [-1, 1]: 1 for the same errors, 0 for independent errors, below 0 for errors on
    different images. It is NaN if c_exp is 1, because both are always right or both always wrong. The wrong answers
    themselves are not compared.

    >>> error_consistency(torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])).item()
    0.0

    Raises:
        ValueError: the arrays are empty, of unlike shape, or not bool.

    Source: Geirhos, Meding and Wichmann, NeurIPS 2020 (arXiv:2006.16736), equations 1 to 3.
    """
    if right.ndim != 1 or right.shape != other.shape or not len(right):
        raise ValueError(f"expected two arrays (n,) with n >= 1, got {tuple(right.shape)} and {tuple(other.shape)}")
    if right.dtype != torch.bool or other.dtype != torch.bool:
        raise ValueError(f"expected bool, whether each answer was right, got {right.dtype} and {other.dtype}")
    observed = (right == other).double().mean()
    p, q = right.double().mean(), other.double().mean()
    expected = p * q + (1 - p) * (1 - q)
    if bool(expected == 1):
        return torch.full_like(observed, math.nan)
    return (observed - expected) / (1 - expected)
