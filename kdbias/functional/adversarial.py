"""Adversarial images: small steps along the gradient that mislead a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def pgd(
    scores: Callable[[Tensor], Tensor],
    image: Tensor,
    target: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step: float | None = None,
) -> Tensor:
    """Climb the cross-entropy of ``target`` from ``image``, by signed gradients within ``epsilon`` of every pixel.

    ``scores`` gives logits ``(B, C)`` of images ``(B, C', H, W)`` in [0, 1]; ``target`` is ``(B,)`` int64, and the
    result is like ``image``, in [0, 1]. It starts at the image itself, so the result is deterministic. ``step`` is
    the size of each of the ``steps``: by default 2.5 ``epsilon`` / ``steps``, and ``epsilon`` for one step, which is
    FGSM. Gradients are computed for the image alone: no parameter gets one.

    Raises:
        ValueError: ``epsilon`` or ``step`` is negative, or there is no step.

    Source: Goodfellow et al. 2015 (arXiv:1412.6572), FGSM; Madry et al. 2018 (arXiv:1706.06083), PGD.

    >>> def scores(image):
    ...     return torch.cat([image.flatten(1), 1 - image.flatten(1)], dim=1)
    >>> pgd(scores, torch.full((1, 1, 1, 1), 0.5), torch.tensor([0]), epsilon=0.1, steps=1).squeeze()  # darker
    tensor(0.4000)
    """
    step = (epsilon if steps == 1 else 2.5 * epsilon / max(steps, 1)) if step is None else step
    if steps < 1 or epsilon < 0 or step < 0:
        raise ValueError(f"expected steps >= 1, epsilon >= 0 and step >= 0, got {steps}, {epsilon} and {step}")
    clean = image.detach()
    low, high = (clean - epsilon).clamp(0, 1), (clean + epsilon).clamp(0, 1)
    found = clean
    for _ in range(steps):
        with torch.enable_grad():
            here = found.detach().requires_grad_()
            loss = cross_entropy(scores(here).float(), target, reduction="sum")
            (slope,) = torch.autograd.grad(loss, here)
        found = torch.minimum(torch.maximum(found + step * slope.sign(), low), high)
    return found
