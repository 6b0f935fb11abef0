"""Test-time augmentation: one answer from several views of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from kdbias.models.features import Features


@dataclass(frozen=True)
class View:
    """An image moved by ``down`` and ``right`` pixels, the border filled by reflection, and mirrored on request."""

    flip: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        """Give this view of ``image``, ``(B, C, H, W)``."""
        seen = image.flip(-1) if self.flip else image
        if not (self.down or self.right):
            return seen
        edges = [max(self.right, 0), max(-self.right, 0), max(self.down, 0), max(-self.down, 0)]
        padded = F.pad(seen, edges, mode="reflect")
        top, left = max(-self.down, 0), max(-self.right, 0)
        return padded[..., top : top + image.shape[-2], left : left + image.shape[-1]]


def views(*, flip: bool = True, shift: int = 2) -> tuple[View, ...]:
    """Give the image itself and its shifts by ``shift`` pixels up, down, left and right; with ``flip`` each mirrored
    too: ten views, five without ``flip``, and without shifts (0) two or one.

    Raises:
        ValueError: ``shift`` is negative.
    """
    if shift < 0:
        raise ValueError(f"tta: shift={shift} must be 0 or more pixels")
    moves = [(0, 0)] + ([(-shift, 0), (shift, 0), (0, -shift), (0, shift)] if shift else [])
    return tuple(View(mirrored, *move) for mirrored in ((False, True) if flip else (False,)) for move in moves)


def averaged(network: Callable[[Tensor], Features], image: Tensor, views: Sequence[View]) -> Tensor:
    """Give the probabilities ``(B, C)`` of ``network``, fp32, as the mean over views of ``image``, ``(B, C', H, W)``.

    ``network`` is an ``Extractor`` in the state that it is to answer in, or a ``Teacher``. The softmax is averaged, not
    the logits.

    Raises:
        ValueError: there is no view, or the network has no classifier.
    """
    total: Tensor | None = None
    for view in views:
        logits = network(view(image)).logits
        if logits is None:
            raise ValueError("the network has no classifier: test-time augmentation averages its answers")
        probabilities = logits.float().softmax(1)
        total = probabilities if total is None else total + probabilities
    if total is None:
        raise ValueError("expected at least one view")
    return total / len(views)
