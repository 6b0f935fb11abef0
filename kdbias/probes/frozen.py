"""What probes of frozen features share: the images that they learn from, and the features themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor

Read = Literal["pooled", "tokens"]


class Splits(Protocol):
    """Plain images of a data set by split, such as ``kdbias.data.base.ImageData``."""

    @property
    def info(self) -> DataInfo:
        """What is known of the data."""
        ...

    def batches(
        self,
        split: Literal["train", "val", "test"],
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """Give the images of a split in order, the first ``limit`` of them."""
        ...


@dataclass(frozen=True)
class Frozen:
    """Features ``known`` ``(m, D)`` with ``labels`` ``(m,)`` of a bank, and of the images that are asked about.

    Of these: ``queries`` ``(n, D)``, ``target`` and ``index`` ``(n,)``.
    """

    known: Tensor
    labels: Tensor
    queries: Tensor
    target: Tensor
    index: Tensor


def check_read(read: str) -> None:
    """Pass a known choice of features."""
    if read not in get_args(Read):
        raise ValueError(f"features must be one of {', '.join(get_args(Read))}, got {read!r}")


def read_frozen(
    network: Extractor, data: Splits, bank: int | None, batches: Iterable[Batch], read: Read, precision: Precision
) -> Frozen:
    """Read the features of the first ``bank`` training images of ``data``, None for all, and of ``batches``."""
    images = data.batches("train", network.mean.device, limit=bank)
    known, labels, _ = read_features(network, images, read, precision)
    return Frozen(known, labels, *read_features(network, batches, read, precision))


def read_features(
    network: Extractor, batches: Iterable[Batch], read: Read, precision: Precision
) -> tuple[Tensor, Tensor, Tensor]:
    """Give fp32 features ``(n, D)``, targets ``(n,)`` and positions ``(n,)`` of all images.

    ``pooled`` are the penultimate features (a ViT's CLS token), ``tokens`` the mean of the last layer's patch tokens,
    among the layers that ``network`` reads.

    Raises:
        ValueError: there are no images, or features are not finite.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluation(network, precision):
        for batch in batches:
            found = network(batch.image)
            features = found.pooled if read == "pooled" else found.tokens[-1].float().mean(1)
            parts.append((features.float(), batch.target, batch.index))
    if not parts:
        raise ValueError("there are no images to read features of")
    features, target, index = (torch.cat(part) for part in zip(*parts, strict=True))
    if not torch.isfinite(features).all():
        raise ValueError("the network's features are not finite: its training diverged; lower optim.optimizer.lr")
    return features, target, index
