"""What all loaders share: an epoch of batches that can be interrupted and resumed in the middle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing

import torch
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.data.augment import Augment
from kdbias.data.mix import Mix, mix_targets
from kdbias.data.order import Order, Share


class EpochSampler:
    """Holds the epoch, from which the order of the images is drawn; Lightning sets it before each epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch


class ImageLoader(ABC):
    """Iterate over the batches of one process, epoch by epoch.

    A batch depends on a ``Share`` and the seed alone, not on the number of processes or on earlier batches. So a run
    resumed in the middle of an epoch sees the same images as an uninterrupted one.

    Args:
        labels: int64 ``(n,)``, on the device where batches are wanted.
        info: of the data set.
        augment: None for the plain images.
        order: of the images.
    """

    def __init__(self, labels: Tensor, *, info: DataInfo, augment: Augment | None, order: Order) -> None:
        self.labels, self.info, self.augment, self.order = labels, info, augment, order
        self.sampler, self.batch_sampler = EpochSampler(), None  # Lightning looks at both
        self._place = self._resume = (0, 0)  # epoch and step of the next batch; where to resume

    @abstractmethod
    def _batches(self, shares: Iterator[Share]) -> Generator[tuple[Share, Batch], None, None]:
        """Give the batch of each share, in order; closing this generator drops batches that were made in advance."""

    def __len__(self) -> int:
        """Give the number of batches that this process yields in an epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.sampler.epoch
        begin = self._resume[1] if self._resume[0] == epoch else 0
        self._resume = (0, 0)
        with closing(self._batches(self.order.shares(epoch, begin))) as batches:
            for share, batch in batches:
                self._place = (epoch, share.step + 1)
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Give the place in the data after the last batch handed out, which Lightning keeps in a checkpoint."""
        return {"epoch": self._place[0], "step": self._place[1]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start the next iteration after the batches that were seen, if it is of the same epoch."""
        self._resume = (state_dict["epoch"], state_dict["step"])

    def _targets(self, index: Tensor, mix: Mix | None) -> tuple[Tensor, Tensor]:
        """Give targets and positions of the images at ``index``; with mixing, the first image is a partner only."""
        target = self.labels[index]
        if self.augment is not None and self.augment.mixes:
            soft = torch.zeros(len(index), self.info.classes, device=target.device)
            target = soft.scatter_(1, target[:, None], 1.0)
        return (target, index) if mix is None else (mix_targets(target, mix), index[1:])


def fill_value(info: DataInfo) -> Tensor:
    """Give the colour of erasing: the mean of each channel, ``(C,)`` uint8."""
    return torch.tensor([round(255 * mean) for mean in info.mean], dtype=torch.uint8)
