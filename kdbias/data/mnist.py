"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 pixels, grey, light on black.

MNIST: LeCun et al., 1998. Fashion-MNIST: Xiao et al., 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.datasets import MNIST, FashionMNIST

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.published_files import idx_fault
from kdbias.data.torchvision_source import TorchvisionSource, image_info

FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS = tuple("0123456789")
MEAN, STD = (0.1307,), (0.3081,)
FASHION_MEAN, FASHION_STD = (0.2860,), (0.3530,)
BUILDERS = ("kdbias.data.mnist.mnist", "kdbias.data.mnist.fashion_mnist")
COUNT = 60_000
SIZES = (28, 32)
THRESHOLD = 127
FAULT = partial(idx_fault, classes=10)


class RawFiles:
    """Have torchvision read the raw files alone, which are checked.

    It would read an old ``processed/training.pt`` in their place, whatever that holds.
    """

    published: ClassVar[str]
    root: str

    @property
    def raw_folder(self) -> str:
        """The folder of the files."""
        return os.path.join(self.root, self.published, "raw")

    @property
    def processed_folder(self) -> str:
        """A folder that does not exist: nothing is processed."""
        return os.path.join(self.raw_folder, "none")


class RawMNIST(RawFiles, MNIST):  # type: ignore[misc]
    """MNIST by its raw files."""

    published = "MNIST"


class RawFashionMNIST(RawFiles, FashionMNIST):  # type: ignore[misc]
    """Fashion-MNIST by its raw files."""

    published = "FashionMNIST"


@builder("data")
def mnist(
    *,
    root: str,
    download: bool = True,
    size: int = 28,
    part: Sequence[float] | None = None,
    val: int = 5_000,
    split_seed: int = 0,
    limit: int | None = None,
) -> TorchvisionSource:
    """Give MNIST from ``root/MNIST/raw``, one channel; arguments as in ``TorchvisionSource``.

    ``size`` is 28, or 32 (padded with black); mean and std are the usual ones of 28 pixels in both.

    Raises:
        ValueError: another ``size``.
    """
    info = image_info(
        COUNT,
        val=val,
        limit=limit,
        part=part,
        channels=1,
        size=size,
        names=DIGITS,
        mean=MEAN,
        std=STD,
    )
    return TorchvisionSource(
        RawMNIST, Path(root), "MNIST/raw", info, COUNT, val, split_seed, limit, download, FAULT, part
    )


@builder("data")
def fashion_mnist(
    *,
    root: str,
    download: bool = True,
    size: int = 28,
    part: Sequence[float] | None = None,
    val: int = 5_000,
    split_seed: int = 0,
    limit: int | None = None,
) -> TorchvisionSource:
    """Give Fashion-MNIST from ``root/FashionMNIST/raw``, one channel; arguments as in ``mnist``.

    Raises:
        ValueError: another ``size``.
    """
    info = image_info(
        COUNT,
        val=val,
        limit=limit,
        part=part,
        channels=1,
        size=size,
        names=FASHION_NAMES,
        mean=FASHION_MEAN,
        std=FASHION_STD,
    )
    return TorchvisionSource(
        RawFashionMNIST, Path(root), "FashionMNIST/raw", info, COUNT, val, split_seed, limit, download, FAULT, part
    )


def is_mnist(info: DataInfo, built_by: str | None = None) -> bool:
    """Whether data are MNIST or Fashion-MNIST: by the name of their builder, or where that is not known by ``info``."""
    if built_by is not None:
        return built_by in BUILDERS
    published = ((DIGITS, MEAN, STD), (FASHION_NAMES, FASHION_MEAN, FASHION_STD))
    return (info.names, info.mean, info.std) in published


def as_mnist(image: Tensor, size: int) -> Tensor:
    """Give images from elsewhere as ``mnist`` gives its own: light on black, and padded with black to ``size``.

    ``image`` is uint8 ``(..., H, H)``; ``H`` and ``size`` are of ``SIZES``.
    """
    return pad(invert_light_background(image), [(size - image.shape[-1]) // 2] * 4)


def invert_light_background(image: Tensor) -> Tensor:
    """Invert images with a light background, so that every digit is light on black as in MNIST.

    ``image`` is uint8 ``(..., H, W)``, each ``(H, W)`` on its own: its background is light if the mean of its
    outermost ring of pixels is above 127. This is for images from other sources; MNIST itself is not changed.
    """
    ring = torch.ones(image.shape[-2:], dtype=torch.bool, device=image.device)
    ring[1:-1, 1:-1] = False
    total = (image.to(torch.int64) * ring).sum(dim=(-2, -1), keepdim=True)
    return torch.where(total > THRESHOLD * ring.sum(), 255 - image, image)
