"""Draws from the training images by class: negatives of other classes, positives of the same."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.precision import has_float64

MOST = 2**25
"""Entries that a table (classes, images) has at most; one of all classes spares a look at the batch."""


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
        _, number, counts = torch.unique(classes, return_inverse=True, return_counts=True)
        self.classes, self._counts = number, counts  # numbered from 0 without gaps
        self._others = (len(classes) - counts).tolist()  # on the host, so that no draw waits for the device

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

        Nothing waits for a GPU, unless classes times images exceed ``MOST``.
        """
        order = torch.randperm(len(self), device=index.device)
        own = self.classes[index]
        drawn = index.new_empty(len(index), 1 + negatives)
        drawn[:, 0] = self._positive(order, own) if relax else index
        drawn[:, 1:] = self._negatives(order, own, negatives)
        return drawn

    def _positive(self, order: Tensor, own: Tensor) -> Tensor:
        """Give for each class of ``own`` ``(B,)`` a random image of it."""
        by_class = order[self.classes[order].argsort(stable=True)]
        first = self._counts.cumsum(0) - self._counts
        return by_class[first[own] + _below(self._counts[own])]

    def _negatives(self, order: Tensor, own: Tensor, count: int) -> Tensor:
        """Give for each class of ``own`` ``(B,)`` a sample of the images of others, ``(B, count)``."""
        classes, row = self._prepared(own)
        at_once = max(1, MOST // len(self))
        if len(classes) <= at_once:
            return self._windows(order, classes, row, count)
        drawn = own.new_empty(len(own), count)
        for first in range(0, len(classes), at_once):
            there = ((row >= first) & (row < first + at_once)).nonzero().squeeze(1)
            drawn[there] = self._windows(order, classes[first : first + at_once], row[there] - first, count)
        return drawn

    def _windows(self, order: Tensor, classes: Tensor, row: Tensor, count: int) -> Tensor:
        """Give a sample of the images of others for each place ``row`` ``(B,)`` in ``classes`` ``(W,)``."""
        size = len(self) - self._counts[classes]  # (W,)
        table = _without(order, self.classes[order] != classes[:, None])
        fewest, most = min(self._others), max(self._others)
        if fewest >= count:
            place = torch.arange(most + count - 1, device=row.device) % size[:, None]
            ring = table.gather(1, place).flatten()  # each class's images, then the first of them again
            windows = ring.unfold(0, count, 1)[row * place.shape[1] + _below(size[row])]
        else:
            places = _below(size[row, None].expand(-1, count))
            start = (torch.arange(count, device=row.device) + _below(size[row])[:, None]) % size[row, None]
            windows = table[row[:, None], torch.where(size[row, None] < count, places, start)]
        if count in self._others:  # all of them, always in one order: equal to the last bit, whatever the generator
            windows = torch.where(size[row, None] == count, windows.sort(dim=1).values, windows)
        return windows

    def _prepared(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """Give classes ``(W,)`` among which all of ``own`` ``(B,)`` are, and the place of each of these, ``(B,)``."""
        if own.device.type != "cpu" and len(self._counts) * len(self) <= MOST:
            return torch.arange(len(self._counts), device=own.device), own
        classes, row = torch.unique(own, return_inverse=True)
        return classes, row


def _below(bound: Tensor) -> Tensor:
    """Draw a whole number from 0 to below each of ``bound``."""
    most = bound if has_float64(bound.device) else bound.cpu()
    drawn = (torch.rand(most.shape, dtype=torch.float64, device=most.device) * most).long()
    return drawn.minimum(most - 1).to(bound.device)  # a product can round up


def _without(order: Tensor, kept: Tensor) -> Tensor:
    """Give for each row of ``kept`` ``(W, n)`` the marked images of ``order`` ``(n,)``, in order, then anything.

    The number of marked ones decides no shape, so nothing waits for the device.
    """
    place = torch.where(kept, kept.cumsum(1) - 1, kept.shape[1])  # those that are left out go to a column of their own
    width = kept.shape[1] + 1
    place += width * torch.arange(len(kept), device=order.device)[:, None]
    table = order.new_zeros(len(kept) * width)
    return table.scatter_(0, place.flatten(), order.repeat(len(kept))).view(len(kept), width)
