"""Centred kernel alignment: the similarity of two representations of the same samples."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.cka.hsic import Estimator, centre_gram, hsic_from_features, hsic_from_grams
from kdbias.functional.precision import full_precision, without_autocast


def linear_cka(x: Tensor, y: Tensor, estimator: Estimator = "debiased") -> Tensor:
    """Give linear CKA of features ``(n, d1)`` and ``(n, d2)`` of the same n samples, a scalar.

    1 for equal up to rotation, shift and isotropic scale. ``biased`` lies in [0, 1] and grows as n falls: between
    independent noise it is .79 at n = 64, .06 at n = 4,096 (d = 256). ``debiased`` is about 0 there, and may be below
    0; it needs n >= 4.

    Raises:
        ValueError: shapes, an unknown estimator, too few samples, or features without any structure to compare
            (constant, or equal for all samples but one), for which the ratio is 0/0.

    Source: Kornblith et al., ICML 2019, arXiv:1905.00414; debiased: Nguyen et al., ICLR 2021, arXiv:2010.15327.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> linear_cka(x, -2 * x + 1), linear_cka(x, x**2, estimator="biased")  # 1, and the squared correlation 45/49
    (tensor(1.), tensor(0.9184))
    """
    _check(x, y, estimator)
    with without_autocast(x):
        x, y = full_precision(x, y)
        x, y = _centre(x, "x"), _centre(y, "y")
        if len(x) > max(x.shape[1], y.shape[1]):
            return _ratio_of_features(x, y, estimator)
        return cka_of_grams(x @ x.T, y @ y.T, estimator)


def rbf_cka(x: Tensor, y: Tensor, scale: float = 1.0, estimator: Estimator = "debiased") -> Tensor:
    """Give CKA of features ``(n, d1)`` and ``(n, d2)`` under Gaussian kernels exp(-|a - b|² / (2 width²)), a scalar.

    The width is ``scale`` times the median distance between two different samples, separately for x and y; no
    gradient flows through it. A small scale compares neighbourhoods, a large one tends to linear CKA. It holds n x n
    numbers.

    Raises:
        ValueError: as ``linear_cka``; ``scale`` <= 0; more than half of the pairs of samples coincide (median
            distance 0).

    Source: Kornblith et al., ICML 2019, arXiv:1905.00414.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
    >>> rbf_cka(x, 5 * x)  # the widths follow the scale
    tensor(1.)
    """
    _check(x, y, estimator)
    if not scale > 0:
        raise ValueError(f"scale must be > 0, got {scale}")
    with without_autocast(x):
        x, y = full_precision(x, y)
        return cka_of_grams(rbf_gram(_centre(x, "x"), scale, "x"), rbf_gram(_centre(y, "y"), scale, "y"), estimator)


def cka_of_grams(gram_x: Tensor, gram_y: Tensor, estimator: Estimator) -> Tensor:
    """Give CKA ``(...)`` of two Gram matrices ``(..., n, n)``; leading axes are a batch of comparisons.

    Raises:
        ValueError: a Gram matrix without structure (see ``linear_cka``).
    """
    x, y = centre_gram(gram_x, estimator), centre_gram(gram_y, estimator)
    own_x, own_y = hsic_from_grams(x, x, estimator), hsic_from_grams(y, y, estimator)
    for name, gram, centred in (("x", gram_x, x), ("y", gram_y, y)):
        # Both sides are sums of squares, so the rounding error is eps² times the Gram matrix's own sum.
        check_structure(centred.square().sum((-2, -1)), gram.square().sum((-2, -1)), power=2, name=name)
    return hsic_from_grams(x, y, estimator) / (own_x.sqrt() * own_y.sqrt())


def check_structure(own: Tensor, size: Tensor, power: int, name: str) -> None:
    """Raise ``ValueError`` unless ``own``, the HSIC of features with themselves, exceeds the rounding of ``size``.

    Both are scalars, of the given ``power`` of the features' own rounding; ``name`` is that of the features.
    """
    floor = (10 * torch.finfo(own.dtype).eps) ** power
    if not bool((own > floor * size).all()):
        raise ValueError(
            f"HSIC({name}, {name}) is 0 up to rounding (or NaN), so CKA is undefined: the features of {name} are "
            "constant, equal for all samples but one, equally far from each other or not finite, or too few samples"
        )


def _ratio_of_features(x: Tensor, y: Tensor, estimator: Estimator) -> Tensor:
    own_x, own_y = hsic_from_features(x, x, estimator), hsic_from_features(y, y, estimator)
    for name, features, own in (("x", x, own_x), ("y", y, own_y)):
        # Here the estimate is a difference of sums as large as the whole Gram matrix.
        check_structure(own, hsic_from_features(features, features, "biased"), power=1, name=name)
    return hsic_from_features(x, y, estimator) / (own_x.sqrt() * own_y.sqrt())


def _check(x: Tensor, y: Tensor, estimator: str) -> None:
    if estimator not in ("debiased", "biased"):
        raise ValueError(f"estimator must be 'debiased' or 'biased', got {estimator!r}")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            f"expected features (n, d1) and (n, d2) of the same samples, got {tuple(x.shape)}, {tuple(y.shape)}"
        )
    least = 4 if estimator == "debiased" else 2
    if len(x) < least:
        raise ValueError(f"{estimator} CKA needs at least {least} samples, got {len(x)}")


def _centre(x: Tensor, name: str) -> Tensor:
    """Give the centred features at unit size: CKA is the same, and its fourth powers stay in range."""
    centred = x - x.mean(dim=0)
    size = centred.norm()
    if not bool(size > 10 * torch.finfo(x.dtype).eps * x.norm()):
        raise ValueError(f"the features of {name} are constant over the samples (or not finite), so CKA is undefined")
    unit: Tensor = centred / size
    return unit


def rbf_gram(x: Tensor, scale: float, name: str) -> Tensor:
    """Give the Gaussian kernel, less 1, of samples ``(n, d)`` with each other, ``(n, n)``; its width as in ``rbf_cka``.

    Raises:
        ValueError: the median distance is 0.
    """
    length = x.square().sum(dim=1)
    squared = (length[:, None] + length - 2 * x @ x.T).clamp_min(0.0).fill_diagonal_(0.0)
    pairs = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    ordered = squared.detach()[pairs[0], pairs[1]].sqrt().sort().values
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    if not bool(median > 0):
        raise ValueError(f"the median distance between samples of {name} is 0: most samples coincide, RBF has no width")
    # A constant does not change HSIC; without the 1 a wide kernel keeps its digits.
    return torch.expm1(-squared / (2 * (scale * median) ** 2))
