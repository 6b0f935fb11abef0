"""The augmentation of a batch: drawn anew in every epoch, or one of K draws that each image keeps.

A draw belongs to a place: (seed, epoch, step, row of the batch). Draw k of an image is what it gets at its place in
epoch k. With K draws, epoch e gives each image its draw e mod K, while the order of the images is that of epoch e. So
images meet others in every epoch, and with at least as many draws as epochs nothing differs from a new draw each time,
unless the kept draws are those of another seed. Runs of several seeds share such draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from kdbias.config.errors import ArgumentError
from kdbias.data.augment import Augment, Draws
from kdbias.data.order import Order, Share


@dataclass
class Drawing:
    """Gives the augmentation parameters of a share's global batch.

    Args:
        augment: the augmentation.
        order: of the images.
        size: of the images in pixels.
        kept: number of draws of each image; None draws anew in each epoch.
        seed: of the kept draws; None for that of the order.

    Raises:
        ArgumentError: ``kept`` is set, and a batch is mixed or an image comes more than once in an epoch.
    """

    augment: Augment
    order: Order
    size: int
    kept: int | None = None
    seed: int | None = None
    _table: tuple[int, Draws] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kept is None:
            return
        if self.augment.mixes:
            raise ArgumentError("mix_probability", MIXES, of="augment")
        if self.order.repeats != 1:
            raise ArgumentError("repeats", REPEATS, of="loader")

    def __call__(self, share: Share) -> Draws:
        """Draw for all images of the share's global batch, in its order."""
        if self.kept is None:
            count = len(share.chosen)
            return self.augment.draw(count, self.size, self.order.seed, share.epoch, share.step, share.chosen)
        number = share.epoch % self.kept
        if self._table is None or self._table[0] != number:
            order = self.order if self.seed is None else replace(self.order, seed=self.seed)
            self._table = number, every_image(self.augment, order, self.size, number)
        return self._table[1].take(share.chosen)


MIXES = (
    "teacher.cache keeps answers for single images, and MixUp and CutMix show two in one: set it to 0, or choose "
    "augment=light"
)
REPEATS = "teacher.cache keeps one draw of an image in an epoch: set loader.repeats=1"


def every_image(augment: Augment, order: Order, size: int, epoch: int) -> Draws:
    """Give what each image of the split is drawn in an epoch, by its position.

    The images of the last batch, which training leaves out if it is not full, get the draws of the step after the last.
    """
    whole = replace(order, drop_last=False, rank=0, world=1)
    shares = list(whole.shares(epoch))
    found = [augment.draw(len(one.chosen), size, order.seed, epoch, one.step, one.chosen) for one in shares]
    place = np.argsort(np.concatenate([one.chosen for one in shares]))
    keys = [one.keys for one in found if one.keys is not None]
    return Draws(
        motion=np.concatenate([one.motion for one in found]),
        corner=np.concatenate([one.corner for one in found]),
        flip=np.concatenate([one.flip for one in found]),
        actions=np.concatenate([one.actions for one in found]),
        cutout=np.concatenate([one.cutout for one in found]),
        erasing=np.concatenate([one.erasing for one in found]),
        mix=None,
        keys=np.concatenate(keys) if keys else None,
    ).take(place)
