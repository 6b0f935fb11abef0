"""The order of the images, a function of (seed, epoch), cut into global batches and shared among processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdbias.config.errors import ArgumentError
from kdbias.data.streams import Stream, stream


class Share(NamedTuple):
    """The part of one global batch that one process makes.

    ``chosen`` ``(n,)`` are the positions, in the split, of the global batch's images; rows ``start`` to ``stop`` of
    them are this process's.
    """

    epoch: int
    step: int
    chosen: NDArray[np.int64]
    start: int
    stop: int

    def rows(self, lender: bool) -> NDArray[np.int64]:
        """Give the rows of the global batch to make; with ``lender`` also the row before them, which mixing needs."""
        return np.arange(self.start - lender, self.stop) % len(self.chosen)


def require_repeats(repeats: int) -> None:
    """Raise ``ArgumentError`` where images cannot come so often."""
    if type(repeats) is not int or repeats < 1:
        text = f"must be a whole number of at least 1, which is no repetition, got {repeats!r}"
        raise ArgumentError("repeats", text, of="loader")


def require_divided(batch_size: int, processes: int) -> None:
    """Raise ``ArgumentError`` where processes cannot share a training batch evenly."""
    if batch_size % processes:
        near = batch_size - batch_size % processes or processes
        raise ArgumentError(
            "batch_size",
            f"{batch_size} images (of all devices together) do not divide among {processes} processes "
            f"(trainer.devices x trainer.num_nodes): use {near} or {near + processes}",
        )


def require_full(batch_size: int, images: int) -> None:
    """Raise ``ArgumentError`` where training images fill no batch."""
    if images < batch_size:
        raise ArgumentError("batch_size", f"no batch is full: set it to at most the {images} training images")


@dataclass(frozen=True)
class Order:
    """The order of ``count`` images, cut into batches of ``batch_size`` over all processes.

    Each of ``world`` processes takes a contiguous slice of every batch, in the order of ``rank``. So the
    concatenated slices are the batch of a single process, and no image is repeated as padding.

    Args:
        count: images in the split.
        batch_size: global.
        seed: of the order.
        shuffle: a new order in each epoch; the split's own order otherwise.
        drop_last: leave out the last batch if it is smaller, and require that ``world`` divides ``batch_size``.
        repeats: repeated augmentation (Hoffer et al., CVPR 2020, arXiv:1901.09335; the rule is DeiT's ``RASampler``):
            each image of the shuffled order is repeated this many times in a row, and the first ``count`` places are
            kept. So an epoch has the same length, with ``count / repeats`` different images. Within a batch all first
            copies come before all second copies, so that copies are apart: with at least three different images in a
            batch, none is mixed with itself.
        rank: of this process.
        world: number of processes.

    Raises:
        ValueError: ``repeats`` is below 1, ``world`` does not divide a training batch, a batch is larger than the
            split, or a batch has fewer images than there are processes.
    """

    count: int
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    repeats: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        require_repeats(self.repeats)
        if self.drop_last:
            require_divided(self.batch_size, self.world)
            require_full(self.batch_size, self.count)
        if self.batch_size < self.world:
            raise ValueError(
                f"a batch of {self.batch_size} images leaves some of {self.world} processes without any; raise "
                "batch_size and eval_batch_size, or lower trainer.devices"
            )

    def __len__(self) -> int:
        """Give the number of batches per epoch in which this process has a part; the same in every process.

        (If there are fewer images than processes, some processes have none.)
        """
        return sum(self._holds(end - begin) for begin, end in self._bounds())

    def shares(self, epoch: int, begin: int = 0) -> Iterator[Share]:
        """Give this process's part of each batch of an epoch from step ``begin`` on; empty parts are left out."""
        order = np.arange(self.count)
        if self.shuffle:
            order = stream(Stream.ORDER, self.seed, epoch).permutation(self.count)[order // self.repeats]
        for step, (first, end) in enumerate(self._bounds()):
            if step < begin:
                continue
            place = np.arange(first, end)
            chosen = order[place[np.argsort(place % self.repeats, kind="stable")]]
            start, stop = self._slice(len(chosen))
            if stop > start:
                yield Share(epoch, step, chosen, start, stop)

    def _bounds(self) -> list[tuple[int, int]]:
        """Give the first place and the end of each global batch.

        If the last batch has fewer images than there are processes, they join the batch before it, because all
        processes must take the same number of steps.
        """
        whole, rest = divmod(self.count, self.batch_size)
        ends = [(i + 1) * self.batch_size for i in range(whole)]
        if rest and not self.drop_last:
            ends[whole - (0 < rest < self.world and whole > 0) :] = [self.count]
        return list(pairwise([0, *ends]))

    def _slice(self, count: int) -> tuple[int, int]:
        return count * self.rank // self.world, count * (self.rank + 1) // self.world

    def _holds(self, count: int) -> bool:
        start, stop = self._slice(count)
        return stop > start
