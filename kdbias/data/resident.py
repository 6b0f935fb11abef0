"""A loader whose pictures live on the device, as uint8, and are augmented there."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.data.augment import Augment, to_float
from kdbias.data.geometry import put
from kdbias.data.mix import mix_targets
from kdbias.data.streams import Stream, stream


class EpochSampler:
    """Holds the epoch that the order of the pictures is drawn from; Lightning sets it before each epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch


class ResidentLoader:
    """Iterate over batches of pictures that lie in memory as uint8, on the device where they are wanted.

    The pictures, in the order of (seed, epoch) where ``shuffle`` is set, are cut into global batches, and each of
    ``world`` processes takes a contiguous slice of every one of them, ``rank`` by ``rank``. So the slices of all ranks,
    put together, are the batch of a single process bit for bit, augmented or not, and nothing is repeated to fill up.

    Args:
        images: uint8 ``(n, C, H, W)``; the batches are on its device.
        labels: int64 ``(n,)``, on the same device.
        info: of the data set; gives the number of classes of soft targets and the mean that erasing paints.
        batch_size: global.
        seed: of the order and of the augmentation.
        augment: None for the plain pictures.
        shuffle: a new order in each epoch.
        drop_last: leave out the last batch where it is smaller, and insist that ``world`` divides ``batch_size``.
        rank: of this process.
        world: number of processes.

    Raises:
        ValueError: ``world`` does not divide a training batch, or there are fewer pictures than one batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        info: DataInfo,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if drop_last and batch_size % world:
            raise ValueError(
                f"batch_size={batch_size} is global and {world} processes do not divide it; "
                f"set batch_size to a multiple of {world}, or change trainer.devices"
            )
        if drop_last and len(images) < batch_size:
            raise ValueError(f"batch_size={batch_size} is more than the {len(images)} training pictures; lower it")
        self.images, self.labels = images, labels
        self.info, self.augment = info, augment
        self.batch_size, self.seed = batch_size, seed
        self.shuffle, self.drop_last = shuffle, drop_last
        self.rank, self.world = rank, world
        self.sampler, self.batch_sampler = EpochSampler(), None  # Lightning looks at both
        self._place = self._resume = (0, 0)  # epoch and step: of the next batch; where to go on
        self._fill = torch.tensor([round(255 * m) for m in info.mean], dtype=torch.uint8).to(images.device)

    def __len__(self) -> int:
        """Give the number of batches that this process yields in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole * self._holds(self.batch_size) + (not self.drop_last and self._holds(rest))

    def __iter__(self) -> Iterator[Batch]:
        epoch, count = self.sampler.epoch, len(self.images)
        order = stream(Stream.ORDER, self.seed, epoch).permutation(count) if self.shuffle else np.arange(count)
        end = count - count % self.batch_size if self.drop_last else count
        begin = self._resume[1] if self._resume[0] == epoch else 0
        self._resume = (0, 0)
        for step in range(begin, math.ceil(end / self.batch_size)):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            start, stop = self._slice(len(chosen))
            self._place = (epoch, step + 1)
            if stop > start:
                yield self._batch(chosen, start, stop, epoch, step)

    def state_dict(self) -> dict[str, int]:
        """Give the place in the data, which Lightning keeps in a checkpoint."""
        return {"epoch": self._place[0], "step": self._place[1]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next iteration, if it is of the same epoch, after the batches that were seen."""
        self._resume = (state_dict["epoch"], state_dict["step"])

    def _slice(self, count: int) -> tuple[int, int]:
        return count * self.rank // self.world, count * (self.rank + 1) // self.world

    def _holds(self, count: int) -> bool:
        start, stop = self._slice(count)
        return stop > start

    def _batch(self, chosen: NDArray[np.int64], start: int, stop: int, epoch: int, step: int) -> Batch:
        if self.augment is None:
            index = put(chosen[start:stop], self.images.device)
            image = to_float(self.images.index_select(0, index))
            return Batch(image, self.labels[index], index, image)
        draws = self.augment.draw(len(chosen), self.info.size, self.seed, epoch, step)
        lender = draws.mix is not None
        rows = np.arange(start - lender, stop) % len(chosen)
        index = put(chosen[rows], self.images.device)
        image, teacher_image = self.augment.views(self.images.index_select(0, index), draws.take(rows), self._fill)
        target = self.labels[index]
        if self.augment.mixes:
            target = torch.zeros(len(rows), self.info.classes, device=target.device).scatter_(1, target[:, None], 1.0)
        if draws.mix is not None:
            target, index = mix_targets(target, draws.mix), index[1:]
        return Batch(image, target, index, teacher_image)
