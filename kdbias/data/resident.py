"""``loader=resident``: the images are kept on the device as uint8 and augmented there."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.data.augment import Augment, to_float
from kdbias.data.drawing import Drawing
from kdbias.data.geometry import put
from kdbias.data.loader import ImageLoader, fill_value
from kdbias.data.order import Order, Share
from kdbias.data.prefetch import SideStream, ahead


@builder("loader")
@dataclass(frozen=True)
class Resident:
    """The settings of ``loader=resident``: whole data sets in the memory of the training device.

    Args:
        repeats: number of times that an image comes in an epoch, as in ``Order``.
        prefetch: make the next training batch in a side thread while the step runs; the batches are the same.

    Raises:
        ArgumentError: one is out of range.
    """

    repeats: int = 1
    prefetch: bool = True


class ResidentLoader(ImageLoader):
    """Iterate over batches of images in memory, as uint8 on the device of the batches.

    Augmentation is drawn on the host for the global batch from (seed, epoch, step), and each process makes its slice.
    So the concatenated slices of all ranks equal the batch of a single process bit for bit, augmented or not.

    Args:
        images: uint8 ``(n, C, H, W)``; the batches are on its device.
        labels: int64 ``(n,)``, on the same device.
        info: of the data set; gives the number of classes of soft targets and the mean that erasing paints.
        batch_size: global.
        seed: of the order and of the augmentation.
        augment: None for the plain images.
        shuffle, drop_last, repeats, rank, world: as in ``Order``.
        prefetch: make the next batch in a side thread.
        draws, draws_seed: as ``kept`` and ``seed`` in ``Drawing``.

    Raises:
        ValueError: as ``Order``.
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
        repeats: int = 1,
        rank: int = 0,
        world: int = 1,
        prefetch: bool = False,
        draws: int | None = None,
        draws_seed: int | None = None,
    ) -> None:
        order = Order(len(labels), batch_size, seed, shuffle, drop_last, repeats, rank, world)
        super().__init__(labels, info=info, augment=augment, order=order)
        self.images, self.prefetch = images, prefetch
        self._drawing = Drawing(augment, order, info.size, draws, draws_seed) if augment is not None else None
        self._fill = fill_value(info).to(images.device)
        self._stream = SideStream(images.device) if prefetch and images.is_cuda else None

    def _batches(self, shares: Iterator[Share]) -> Generator[tuple[Share, Batch], None, None]:
        if self.prefetch:
            return ahead(self._batch, shares, self._stream)
        return ((share, self._batch(share)) for share in shares)

    def _batch(self, share: Share) -> Batch:
        device = self.images.device
        if self.augment is None or self._drawing is None:
            index = put(share.chosen[share.rows(lender=False)], device)
            image = to_float(self.images.index_select(0, index))
            return Batch(image, self.labels[index], index, image)
        draws = self._drawing(share)
        rows = share.rows(lender=draws.mix is not None)
        index = put(share.chosen[rows], device)
        image, teacher_image = self.augment.views(self.images.index_select(0, index), draws.take(rows), self._fill)
        target, index = self._targets(index, draws.mix)
        return Batch(image, target, index, teacher_image)
