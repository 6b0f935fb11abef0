"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 pixels (Krizhevsky, 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torchvision.datasets import CIFAR10, CIFAR100

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.published_files import md5_fault
from kdbias.data.torchvision_source import TorchvisionSource, image_info

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# fmt: off
CIFAR100_NAMES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on
COUNT = 50_000


@builder("data")
def cifar10(
    *,
    root: str,
    download: bool = True,
    part: Sequence[float] | None = None,
    val: int = 5_000,
    split_seed: int = 0,
    limit: int | None = None,
) -> TorchvisionSource:
    """Give CIFAR-10 from ``root/cifar-10-batches-py``; arguments as in ``TorchvisionSource``."""
    info = image_info(
        COUNT,
        val=val,
        limit=limit,
        part=part,
        channels=3,
        size=32,
        names=CIFAR10_NAMES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    return _source(CIFAR10, root, info, val, split_seed, limit, download, part)


@builder("data")
def cifar100(
    *,
    root: str,
    download: bool = True,
    part: Sequence[float] | None = None,
    val: int = 5_000,
    split_seed: int = 0,
    limit: int | None = None,
) -> TorchvisionSource:
    """Give CIFAR-100 (fine labels) from ``root/cifar-100-python``; arguments as in ``TorchvisionSource``."""
    info = image_info(
        COUNT,
        val=val,
        limit=limit,
        part=part,
        channels=3,
        size=32,
        names=CIFAR100_NAMES,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    )
    return _source(CIFAR100, root, info, val, split_seed, limit, download, part)


def _source(
    dataset: type[CIFAR10],
    root: str,
    info: DataInfo,
    val: int,
    split_seed: int,
    limit: int | None,
    download: bool,
    part: Sequence[float] | None,
) -> TorchvisionSource:
    published = dict([*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])])
    fault = partial(md5_fault, published=published)
    folder = dataset.base_folder
    return TorchvisionSource(dataset, Path(root), folder, info, COUNT, val, split_seed, limit, download, fault, part)
