"""Draws from the training images by class: negatives of other classes, positives of the same."""

from __future__ import annotations

import torch
from torch import Tensor


class ByClass:
    """The training images by class, to draw from with torch's global generator of their device.

    ``classes`` ``(n,)`` int64 holds the class of each training image, at its ``Batch.index``.

    Raises:
        ValueError: ``classes`` has another shape or type, or all images are of one class.
    """

    def __init__(self, classes: Tensor) -> None:
        if classes.ndim != 1 or classes.dtype != torch.int64:
            raise ValueError(f"expected classes (n,) int64, got {tuple(classes.shape)} {classes.dtype}")
        if not (classes != classes[:1]).any():
            raise ValueError("negatives are images of other classes, and all training images are of one class")
        self.classes = classes

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.classes)

    def to(self, device: torch.device) -> ByClass:
        """Give the same images on ``device``; itself if they are there."""
        return self if self.classes.device == device else ByClass(self.classes.to(device))

    def draw(self, index: Tensor, negatives: int, relax: bool = False) -> Tensor:
        """Give for each image of ``index`` ``(B,)`` a positive and its negatives, ``(B, 1 + negatives)`` int64.

        The positive (column 0) is the image itself, or with ``relax`` any image of its class, itself included. The
        negatives are a uniform sample of the images of other classes: without replacement, with it only where there
        are fewer such images than ``negatives``.

        The images of one call share a random order of all training images. Each takes a window of it, at a place of
        its own, from which its class is left out. A window of a random order is a random sample: for one image every
        set of negatives is equally probable, but the samples of two images are not independent. Independent samples
        (the largest of random keys, for each image) take six to eight times as long for 16,384 of 50,000 images of
        ten classes.
        """
        order = torch.randperm(len(self), device=index.device)
        permuted, own = self.classes[order], self.classes[index]
        drawn = index.new_empty(len(index), 1 + negatives)
        drawn[:, 0] = index
        for one in sorted(set(own.tolist())):
            rows = (own == one).nonzero().squeeze(1)
            drawn[rows, 1:] = _samples(order[permuted != one], len(rows), negatives)
            if relax:
                same = order[permuted == one]
                drawn[rows, 0] = same[torch.randint(len(same), (len(rows),), device=index.device)]
        return drawn


def _samples(shuffled: Tensor, rows: int, count: int) -> Tensor:
    """Give ``rows`` samples of ``shuffled`` ``(m,)``, ``(rows, count)``."""
    size = len(shuffled)
    if count == size:  # all of them, always in one order: equal to the last bit, whatever the generator
        return shuffled.sort().values.expand(rows, -1)
    if count > size:
        return shuffled[torch.randint(size, (rows, count), device=shuffled.device)]
    windows = torch.cat([shuffled, shuffled[: count - 1]]).unfold(0, count, 1)  # (m, count), a view
    return windows[torch.randint(size, (rows,), device=shuffled.device)]
