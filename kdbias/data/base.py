"""A source of images, and the LightningDataModule that feeds any of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.data.augment import Augment
from kdbias.data.loader import ImageLoader
from kdbias.data.resident import Resident, ResidentLoader
from kdbias.data.streams import Stream, stream
from kdbias.data.workers import ImageSequence, WorkerLoader, Workers

Split = Literal["train", "val", "test"]


class Source(Protocol):
    """Where images come from.

    ``info`` is available without reading the images. ``prepare`` makes sure that the files exist (downloads them); it
    runs in one process and keeps no state. ``split`` reads one split: uint8 ``(n, C, H, W)`` and int64 labels ``(n,)``.
    """

    @property
    def info(self) -> DataInfo:
        """Sizes, names and statistics."""

    def prepare(self) -> None:
        """Fetch what is missing."""

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Read the images and labels of one split."""


@runtime_checkable
class Undecoded(Protocol):
    """A source whose images need not be in memory: they can be decoded one at a time."""

    def images(self, name: Split) -> tuple[ImageSequence, Tensor]:
        """Give one split's images to be decoded, and its labels ``(n,)`` int64."""


def split_train(
    count: int, val: int, seed: int, limit: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split ``count`` training images into positions ``(train,)`` and ``(val,)``: a plain permutation, not stratified.

    The validation split is the first ``val`` positions of the permutation of ``seed``; it does not depend on ``limit``.
    The training split is the rest in this order, of which ``limit`` keeps the first.

    Raises:
        ValueError: ``val`` leaves nothing to train on, or ``limit`` is not positive.
    """
    if not 0 <= val < count:
        raise ValueError(
            f"data.val={val} must lie in 0..{count - 1}: there are {count} training images; "
            f"a fifth is data.val={max(count // 5, 1)}"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"data.limit={limit} must be positive, or null for all training images")
    order = stream(Stream.SPLIT, seed).permutation(count)
    return order[val:][:limit], order[:val]


class ImageData(LightningDataModule):
    """Feed a source to Lightning: batches on the training device, sharded over processes.

    Args:
        source: where the images come from.
        augment: of the training images.
        batch_size: global, for training; the number of processes must divide it.
        eval_batch_size: global, for validation and test; each image is seen once.
        seed: of order and augmentation.
        loader: how batches are made, and where; ``Resident`` by default.
        draws: number of augmentation draws of each training image, as ``kept`` in ``Drawing``.
        draws_seed: of these draws; None for ``seed``.
    """

    def __init__(
        self,
        source: Source,
        augment: Augment,
        *,
        batch_size: int,
        eval_batch_size: int,
        seed: int = 0,
        loader: Resident | Workers | None = None,
        draws: int | None = None,
        draws_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.source, self.augment, self.loader = source, augment, loader or Resident()
        self.batch_size, self.eval_batch_size, self.seed, self.draws = batch_size, eval_batch_size, seed, draws
        self.draws_seed = seed if draws_seed is None else draws_seed
        self._splits: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def info(self) -> DataInfo:
        """What a network or a loss may know about the data."""
        return self.source.info

    def prepare_data(self) -> None:
        """Download where needed (one process)."""
        self.source.prepare()

    def train_dataloader(self) -> ImageLoader:
        """Give shuffled, augmented batches; the last partial one is left out."""
        return self._loader("train", self.batch_size, train=True)

    def val_dataloader(self) -> ImageLoader:
        """Give the validation split in order."""
        return self._loader("val", self.eval_batch_size, train=False)

    def test_dataloader(self) -> ImageLoader:
        """Give the test set in order."""
        return self._loader("test", self.eval_batch_size, train=False)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch unchanged: it is already on the device."""
        return batch if batch.image.device == device else Batch(*(part.to(device) for part in batch))

    def count(self, split: Split) -> int:
        """Give the number of images in a split."""
        return len(self.images(split)[1])

    def batches(
        self, split: Split, device: torch.device | str = "cpu", batch_size: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """Give the plain images of a split in order, without a trainer: for probes.

        ``limit`` keeps the first images (a random sample of the training split, because its order is shuffled);
        ``batch_size`` defaults to ``eval_batch_size``. If the source can decode images one at a time, it does so here,
        whatever the loader.
        """
        size = batch_size or self.eval_batch_size
        if isinstance(self.loader, Workers) or isinstance(self.source, Undecoded):
            workers = self.loader if isinstance(self.loader, Workers) else Workers(num_workers=0)
            images, labels = self.images(split)
            yield from WorkerLoader(
                images, labels[:limit], info=self.info, workers=workers, device=torch.device(device), batch_size=size
            )
        else:
            stored, labels = (part[:limit].to(device) for part in self._read(split))
            yield from ResidentLoader(stored, labels, info=self.info, batch_size=size)

    def augmented(self, epoch: int, begin: int, device: torch.device) -> Iterator[Batch]:
        """Give all training images as they come in an epoch, from batch ``begin`` on, in one process on ``device``.

        With kept draws these are the ``epoch``-th of each image, in the order of the draws' seed. The last batch, which
        training leaves out if it is not full, is among them.
        """
        loader = self._loader("train", self.batch_size, train=True, whole_on=device)
        loader.sampler.set_epoch(epoch)
        loader.load_state_dict({"epoch": epoch, "step": begin})
        yield from loader

    def _loader(
        self, split: Split, batch_size: int, *, train: bool, whole_on: torch.device | None = None
    ) -> ImageLoader:
        trainer = self.trainer if whole_on is None else None
        device = trainer.strategy.root_device if trainer else whole_on or torch.device("cpu")
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        augment = self.augment if train else None
        seed = self.draws_seed if whole_on and self.draws else self.seed
        if isinstance(self.loader, Workers):
            images, labels = self.images(split)
            return WorkerLoader(
                images,
                labels,
                info=self.info,
                workers=self.loader,
                device=device,
                batch_size=batch_size,
                seed=seed,
                augment=augment,
                shuffle=train,
                drop_last=train and whole_on is None,
                rank=rank,
                world=world,
                draws=self.draws if train else None,
                draws_seed=self.draws_seed,
            )
        stored, labels = (part.to(device) for part in self._read(split))
        return ResidentLoader(
            stored,
            labels,
            info=self.info,
            batch_size=batch_size,
            seed=seed,
            augment=augment,
            shuffle=train,
            drop_last=train and whole_on is None,
            repeats=self.loader.repeats if train else 1,
            rank=rank,
            world=world,
            prefetch=train and self.loader.prefetch,
            draws=self.draws if train else None,
            draws_seed=self.draws_seed,
        )

    def images(self, split: Split) -> tuple[ImageSequence, Tensor]:
        """Give one split's images by position, and its labels: decoded one at a time where the source can."""
        return self.source.images(split) if isinstance(self.source, Undecoded) else self._read(split)

    def _read(self, split: Split) -> tuple[Tensor, Tensor]:
        if split not in self._splits:
            self._splits[split] = self.source.split(split)
        return self._splits[split]
