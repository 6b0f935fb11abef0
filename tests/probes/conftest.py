"""Small networks and random images for the probes."""

from collections.abc import Callable

import pytest
import torch

from kdbias.batch import Batch, DataInfo
from kdbias.models.deit import vit
from kdbias.models.features import Extractor
from kdbias.models.resnet_cifar import small_cnn


@pytest.fixture
def tiny_vit(tiny_info: DataInfo) -> Extractor:
    """Three layers of two heads on a 4×4 grid, with CLS and DIST tokens and dropout on the maps, in train mode."""
    torch.manual_seed(0)
    network = vit(tiny_info, width=16, depth=3, heads=2, patch=8, distilled=True, drop_path=0.2)
    for block in network.network.blocks:
        block.attn.attn_drop.p = 0.5
    return network.train()


@pytest.fixture
def tiny_cnn(tiny_info: DataInfo) -> Extractor:
    torch.manual_seed(1)
    return small_cnn(tiny_info, widths=(4, 8, 16)).train()


@pytest.fixture
def images() -> Callable[..., list[Batch]]:
    """Batches of random images; other sizes split the same images otherwise."""

    def batches(n: int = 24, size: int = 8) -> list[Batch]:
        generator = torch.Generator().manual_seed(3)
        image, target = torch.rand(n, 3, 32, 32, generator=generator), torch.randint(10, (n,), generator=generator)
        parts = (image.split(size), target.split(size), torch.arange(n).split(size))
        return [Batch(x, y, i, x) for x, y, i in zip(*parts, strict=True)]

    return batches
