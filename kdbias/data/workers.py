"""``loader=workers``: images decoded and augmented by worker processes, one at a time, with torchvision's operations.

This loader serves data sets that do not fit into memory. It is also the reference of the resident loader: the same
draws give the same batches.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Literal, NamedTuple, Protocol, TypeVar, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.data.augment import Augment, to_float
from kdbias.data.drawing import Drawing
from kdbias.data.geometry import put
from kdbias.data.loader import ImageLoader, fill_value
from kdbias.data.mix import Mix, mix_images
from kdbias.data.order import Order, Share
from kdbias.data.processes import context, is_of_main
from kdbias.data.reference import image_views

Anything = TypeVar("Anything")
Start = Literal["fork", "spawn", "forkserver"]
STARTS = get_args(Start)


class ImageSequence(Protocol):
    """Uint8 images ``(C, H, W)`` by position: a tensor, or an object that decodes them."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, position: int) -> Tensor:
        """Give one image."""


@builder("loader")
@dataclass(frozen=True)
class Workers:
    """The settings of ``loader=workers``.

    Args:
        repeats: number of times that an image comes in an epoch, as in ``Order``.
        num_workers: worker processes for each training process; 0 makes the batches in the training process itself.
        prefetch_factor: batches that each worker makes in advance.
        start: how workers start: ``fork``, ``spawn`` or ``forkserver``; None takes the default of the system.

    Raises:
        ArgumentError: one is out of range.
    """

    repeats: int = 1
    num_workers: int = 4
    prefetch_factor: int = 2
    start: Start | None = None


class WorkerLoader(ImageLoader):
    """Iterate over batches that worker processes make from images that need not be in memory.

    The processes belong to an iteration and end with it. They return uint8 images; conversion to float and mixing run
    on ``device``.

    Args:
        images: the ``n`` images of the split.
        labels: int64 ``(n,)``.
        info: of the data set.
        workers: the settings.
        device: the device of the batches.
        batch_size, seed, augment, shuffle, drop_last, rank, world, draws, draws_seed: as in ``ResidentLoader``.

    Raises:
        ValueError: as ``Order``.
    """

    def __init__(
        self,
        images: ImageSequence,
        labels: Tensor,
        *,
        info: DataInfo,
        workers: Workers,
        device: torch.device,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        draws: int | None = None,
        draws_seed: int | None = None,
    ) -> None:
        repeats = workers.repeats if shuffle else 1
        order = Order(len(labels), batch_size, seed, shuffle, drop_last, repeats, rank, world)
        super().__init__(labels.to(device), info=info, augment=augment, order=order)
        self.workers, self.device = workers, device
        drawing = Drawing(augment, order, info.size, draws, draws_seed) if augment is not None else None
        self._make = _MakeShare(images, drawing, info)

    def _batches(self, shares: Iterator[Share]) -> Generator[tuple[Share, Batch], None, None]:
        jobs, several = list(shares), self.workers.num_workers > 0
        loader = DataLoader(
            self._make,
            sampler=jobs,
            batch_size=None,
            num_workers=self.workers.num_workers,
            prefetch_factor=self.workers.prefetch_factor if several else None,
            multiprocessing_context=self._context() if several else None,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(self.order.seed),  # else it would draw from the run's generator
        )
        made = iter(loader)
        try:
            for left, share in zip(reversed(range(len(jobs))), jobs, strict=True):
                views = next(made)
                if not left:
                    _end(made)  # before the processes of another loader start
                yield share, self._batch(share, views)
        finally:
            _end(made)

    def _context(self) -> BaseContext | str | None:
        """How workers start: without the user's program, unless what they are sent is defined in it."""
        sent = (self._make.images, self.augment)
        return self.workers.start if any(map(is_of_main, sent)) else context(self.workers.start)

    def _batch(self, share: Share, views: Views) -> Batch:
        image = self._floats(views.student, views.mix)
        teacher_image = image
        if views.teacher is not None:
            clean = self.augment is not None and self.augment.view == "clean"
            teacher_image = self._floats(views.teacher, None if clean else views.mix)
        index = put(share.chosen[share.rows(lender=views.mix is not None)], self.device)
        target, index = self._targets(index, views.mix)
        return Batch(image, target, index, teacher_image)

    def _floats(self, image: Tensor, mix: Mix | None) -> Tensor:
        floats = to_float(image.to(self.device, non_blocking=True))
        return floats if mix is None else mix_images(floats, mix)


class Views(NamedTuple):
    """The images that a worker makes for a share: uint8 ``(B, C, H, W)``, with one image more if they are to be mixed.

    ``teacher`` is None if it equals the student's view; a view that is not mixed has no extra image.
    """

    student: Tensor
    teacher: Tensor | None
    mix: Mix | None


class _MakeShare(Dataset[Views]):
    """A data set whose items are parts of whole batches; it is sent to the worker processes."""

    def __init__(self, images: ImageSequence, drawing: Drawing | None, info: DataInfo) -> None:
        self.images, self.drawing, self.info = images, drawing, info
        self._fill = fill_value(info)

    def __getitem__(self, share: Share) -> Views:
        if self.drawing is None:
            chosen = share.chosen[share.rows(lender=False)].tolist()
            return Views(torch.stack([self.images[i] for i in chosen]), None, None)
        augment, draws = self.drawing.augment, self.drawing(share)
        rows = share.rows(lender=draws.mix is not None)
        student, teacher = zip(
            *(
                image_views(augment, self.images[position], draws.take(row), self._fill)
                for row, position in zip(rows[:, None], share.chosen[rows].tolist(), strict=True)
            ),
            strict=True,
        )
        equal = augment.view != "clean" and all(a is b for a, b in zip(student, teacher, strict=True))
        unmixed = draws.mix is not None and augment.view == "clean"
        mine = torch.stack(student)
        theirs = mine if equal else torch.stack(teacher[unmixed:])
        mine, theirs = augment.stressed(mine, theirs, draws.take(rows).keys)
        return Views(mine, None if theirs is mine else theirs, draws.mix)


def _end(made: _BaseDataLoaderIter) -> None:
    """End the processes of an iteration now: torch ends them on garbage collection, which a traceback can delay."""
    if isinstance(made, _MultiProcessingDataLoaderIter):
        made._shutdown_workers()


def _as_it_is(made: Anything) -> Anything:
    return made
