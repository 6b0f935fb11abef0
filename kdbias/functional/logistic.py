"""Logistic regression on fixed features, solved to its optimum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.precision import full_precision, without_autocast


def logistic_regression(
    x: Tensor, target: Tensor, classes: int, l2: float = 1e-3, iterations: int = 200
) -> tuple[Tensor, Tensor]:
    """Give weight ``(classes, D)`` and bias ``(classes,)`` that minimise cross-entropy + l2/2 · ‖weight‖².

    ``x`` is ``(n, D)``, ``target`` ``(n,)``; the cross-entropy is a mean over images, the bias is not decayed. The
    problem is convex; L-BFGS with the strong Wolfe conditions starts at 0 and stops at the optimum or after
    ``iterations``.

    Raises:
        ValueError: the shapes do not fit.
    """
    if x.ndim != 2 or target.shape != x.shape[:1]:
        raise ValueError(f"expected features (n, D) and n classes, got {tuple(x.shape)} and {tuple(target.shape)}")
    (x,) = full_precision(x.detach())
    with torch.inference_mode(False), torch.enable_grad(), without_autocast(x):
        x, target = x.clone(), target.clone()  # autograd cannot save tensors made in inference mode
        weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
        bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
        solver = torch.optim.LBFGS(
            [weight, bias], max_iter=iterations, tolerance_grad=1e-5, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            solver.zero_grad()
            value = F.cross_entropy(F.linear(x, weight, bias), target) + 0.5 * l2 * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def linear_classifier(
    x: Tensor, target: Tensor, classes: int, l2: float = 1e-3, iterations: int = 200
) -> tuple[Tensor, Tensor]:
    """Give weight ``(classes, D)`` and bias ``(classes,)`` for raw features ``(n, D)``.

    They answer as ``logistic_regression`` on the standardised features does. A feature that is constant over ``x`` has
    weight 0.

    Raises:
        ValueError: the shapes do not fit.
    """
    (unit,) = standardised(x)
    weight, bias = logistic_regression(unit, target, classes, l2, iterations)
    mean, deviation = _moments(x)
    weight = torch.where(deviation == 0, 0.0, weight / torch.where(deviation == 0, 1.0, deviation))
    return weight, bias - weight @ mean


def standardised(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Give ``x`` ``(n, D)`` with mean 0 and deviation 1 in each feature, and ``others`` shifted and scaled as ``x``.

    A feature that is constant over ``x`` becomes 0 everywhere.
    """
    mean, deviation = _moments(x)
    constant = deviation == 0
    return tuple(
        torch.where(constant, 0.0, (part - mean) / torch.where(constant, 1.0, deviation)) for part in (x, *others)
    )


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature; 0 for the deviation of one that is constant up to rounding."""
    std, mean = torch.std_mean(x, dim=0, correction=0)
    small = std <= 1e-6 * x.abs().mean().clamp_min(torch.finfo(x.dtype).tiny)
    return mean, torch.where(small, 0.0, std)
