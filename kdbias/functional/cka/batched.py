"""CKA of many small sets of samples at once, for a loss: data never cause an error or NaN.

A metric must not hide that CKA is undefined, so ``linear_cka`` and ``rbf_cka`` raise an error. A loss meets such sets,
for example the equal tokens of a black image. Here they have CKA 0 and no gradient, and nothing waits for the device.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from kdbias.functional.cka.hsic import Estimator, centre_gram, hsic_from_grams
from kdbias.functional.precision import full_precision, without_autocast

Kernel = Literal["linear", "rbf"]
LEAST: dict[Estimator, int] = {"biased": 3, "debiased": 4}
"""Fewest samples for which CKA is informative: with two samples every biased CKA is 1."""


def batched_cka(
    x: Tensor, y: Tensor, kernel: Kernel = "linear", estimator: Estimator = "biased", scale: float = 1.0
) -> Tensor:
    """Give CKA ``(...)`` of each set of features ``(..., n, d1)`` and ``(..., n, d2)`` of the same n samples.

    Equals ``linear_cka`` and ``rbf_cka`` (its width is ``scale`` times the median distance in each set, without
    gradient) wherever these are defined. Where they are not (samples that are all equal or, debiased, equal but for
    one; a median distance of 0), the result is 0 and has no gradient. Features that are not finite give NaN.

    Raises:
        ValueError: shapes; an unknown kernel or estimator; n < 3 (biased) or 4 (debiased); ``scale`` <= 0.

    Source: Kornblith et al., ICML 2019, arXiv:1905.00414; debiased: Nguyen et al., ICLR 2021, arXiv:2010.15327.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> batched_cka(torch.stack([x, x]), torch.stack([3 - x, torch.ones(3, 1)]))  # the second has no structure
    tensor([1., 0.])
    """
    _check(x, y, kernel, estimator, scale)
    with without_autocast(x):
        x, y = full_precision(x, y)
        (x, x_varies), (y, y_varies) = _centre(x), _centre(y)
        varies = x_varies & y_varies
        if kernel == "linear" and estimator == "biased" and x.shape[-2] > max(x.shape[-1], y.shape[-1]):
            cross, own_x, own_y = (_covariance(a, b) for a, b in ((x, y), (x, x), (y, y)))
        else:
            grams = (_rbf(x, scale), _rbf(y, scale)) if kernel == "rbf" else (x @ x.mT, y @ y.mT)
            k, l = (centre_gram(gram, estimator) for gram in grams)  # noqa: E741
            cross, own_x, own_y = (hsic_from_grams(a, b, estimator) for a, b in ((k, l), (k, k), (l, l)))
            for gram, centred in zip(grams, (k, l), strict=True):
                varies = varies & ~_rounding(centred, gram)
        one = torch.ones_like(cross)
        size = torch.where(varies, own_x, one).sqrt() * torch.where(varies, own_y, one).sqrt()
        return torch.where(varies, cross / size, 0.0)


def _covariance(x: Tensor, y: Tensor) -> Tensor:
    """Biased HSIC of centred features, up to a constant factor, without n x n numbers."""
    return (x.mT @ y).square().sum((-2, -1))


def _rounding(centred: Tensor, gram: Tensor) -> Tensor:
    """Whether only rounding is left of a Gram matrix after centring; False for one that is not finite."""
    floor = (10 * torch.finfo(gram.dtype).eps) ** 2
    return centred.detach().square().sum((-2, -1)) <= floor * gram.detach().square().sum((-2, -1))


def _centre(x: Tensor) -> tuple[Tensor, Tensor]:
    """Centre each set and scale it to unit size, which does not change CKA; also tell which sets vary."""
    centred = x - x.mean(dim=-2, keepdim=True)
    size = centred.detach().norm(dim=(-2, -1))
    constant = size <= 10 * torch.finfo(x.dtype).eps * x.detach().norm(dim=(-2, -1))
    return centred / torch.where(constant, 1.0, size)[..., None, None], ~constant


def _rbf(x: Tensor, scale: float) -> Tensor:
    """Give the Gaussian kernel minus 1, which keeps the digits of a wide kernel; 0 if the median distance is 0."""
    n = x.shape[-2]
    length = x.square().sum(dim=-1)
    squared = (length[..., :, None] + length[..., None, :] - 2 * x @ x.mT).clamp_min(0.0)
    squared = squared.masked_fill(torch.eye(n, dtype=torch.bool, device=x.device), 0.0)
    first, second = torch.triu_indices(n, n, offset=1, device=x.device)
    ordered = squared.detach()[..., first, second].sqrt().sort(dim=-1).values
    pairs = ordered.shape[-1]
    median = ((ordered[..., (pairs - 1) // 2] + ordered[..., pairs // 2]) / 2)[..., None, None]
    width = torch.where(median <= 0, 1.0, scale * median)
    return torch.where(median <= 0, 0.0, torch.expm1(-squared / (2 * width**2)))


def _check(x: Tensor, y: Tensor, kernel: str, estimator: str, scale: float) -> None:
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}, got {kernel!r}")
    if estimator not in get_args(Estimator):
        raise ValueError(f"estimator must be 'debiased' or 'biased', got {estimator!r}")
    if not scale > 0:
        raise ValueError(f"scale must be > 0, got {scale}")
    if x.ndim < 2 or x.shape[:-1] != y.shape[:-1]:
        raise ValueError(
            "expected features (..., n, d1) and (..., n, d2) of the same n samples, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if x.shape[-2] < LEAST[estimator]:  # type: ignore[index]
        raise ValueError(f"{estimator} CKA as a loss needs at least {LEAST[estimator]} samples, got {x.shape[-2]}")  # type: ignore[index]
