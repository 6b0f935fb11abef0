"""Tensors of images as the data that probes read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.errors import ConfigError
from kdbias.data.augment import Augment, to_float
from kdbias.data.base import ImageData, Split


@dataclass(frozen=True)
class Given:
    """A source of images that were given: float32 ``(N, C, H, W)`` in [0, 1], labels ``(N,)`` int64."""

    info: DataInfo
    image: Tensor
    target: Tensor

    def prepare(self) -> None:
        """Fetch nothing."""

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Refuse: there is nothing to learn from.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"it learns from {name} images, and tensors are measured alone: give a data name as images")


class TensorData(ImageData):
    """Given images in order, whichever split is asked for except that of training; floats stay as they are."""

    def __init__(self, source: Given, batch_size: int) -> None:
        super().__init__(source, Augment(), batch_size=batch_size, eval_batch_size=batch_size)
        self.given = source

    def count(self, split: Split) -> int:
        """Give the number of images."""
        return len(self.given.image)

    def batches(
        self, split: Split, device: torch.device | str = "cpu", batch_size: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """Give the images in order, as ``ImageData.batches``.

        Raises:
            ValueError: training images are asked for.
        """
        if split == "train":
            self.given.split(split)
        image, target = (part[:limit].to(device) for part in (self.given.image, self.given.target))
        index = torch.arange(len(image), device=device)
        for some in torch.split(index, batch_size or self.eval_batch_size):
            yield Batch(image[some], target[some], some, image[some])


def tensor_data(images: Any, info: DataInfo, batch_size: int) -> TensorData:
    """Give the data of ``images``: ``(N, C, H, W)``, uint8 or floats in [0, 1], or a pair of these and labels ``(N,)``.

    Without labels all targets are 0, for probes that do not read them. ``info`` is of the network's own images.

    Raises:
        ConfigError: they are not of that shape, range or size, or labels are no classes of the network.
    """
    image, target = images if isinstance(images, list | tuple) and len(images) == 2 else (images, None)
    image = torch.as_tensor(image)
    if image.ndim != 4 or image.shape[1] not in (1, info.channels) or not len(image):
        raise ConfigError(f"images: must be (N, {info.channels}, H, W), got {tuple(image.shape)}")
    if tuple(image.shape[-2:]) != (info.size, info.size):
        raise ConfigError(f"images: the network reads {info.size} px, got {tuple(image.shape[-2:])}: resize them first")
    image = to_float(image) if image.dtype == torch.uint8 else image.float()
    if not (image.min() >= 0 and image.max() <= 1):  # NaN is neither
        raise ConfigError("images: must be uint8, or floats in [0, 1]: do not normalise them, the network does")
    labels = torch.zeros(len(image), dtype=torch.int64) if target is None else torch.as_tensor(target)
    if labels.shape != (len(image),) or labels.is_floating_point():
        raise ConfigError(f"images: labels must be ({len(image)},) whole numbers, got {tuple(labels.shape)}")
    if info.classes and not (labels.min() >= 0 and labels.max() < info.classes):
        raise ConfigError(
            f"images: labels must lie in 0..{info.classes - 1}, got {int(labels.min())}..{int(labels.max())}"
        )
    return TensorData(Given(info, image, labels.long()), batch_size)
