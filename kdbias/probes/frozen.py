"""What probes of frozen features share: a bank of training images, and reading features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor

Read = Literal["pooled", "tokens"]
LOGGED = ("val/knn", "val/linear")
"""What a run logs of frozen features, in rows that have the number of steps before them."""


class Splits(Protocol):
    """The images of a data set by split, without augmentation, such as ``kdbias.data.base.ImageData``."""

    @property
    def info(self) -> DataInfo:
        """Its size, classes and statistics."""
        ...

    def batches(
        self,
        split: Literal["train", "val", "test"],
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Batch]:
        """Give the first ``limit`` images of a split, in order."""
        ...


@dataclass(frozen=True)
class Frozen:
    """Features of a bank of training images, and of the images to classify.

    The bank has features ``known`` ``(m, D)`` with ``labels`` ``(m,)``. The images to classify have features
    ``queries`` ``(n, D)`` with ``target`` and ``index`` ``(n,)``.
    """

    known: Tensor
    labels: Tensor
    queries: Tensor
    target: Tensor
    index: Tensor


def read_frozen(
    network: Extractor, data: Splits, bank: int | None, batches: Iterable[Batch], read: Read, precision: Precision
) -> Frozen:
    """Read the features of the first ``bank`` training images of ``data`` (None for all) and those of ``batches``."""
    images = data.batches("train", network.mean.device, limit=bank)
    known, labels, _ = read_features(network, images, read, precision)
    return Frozen(known, labels, *read_features(network, batches, read, precision))


def read_features(
    network: Extractor, batches: Iterable[Batch], read: Read, precision: Precision
) -> tuple[Tensor, Tensor, Tensor]:
    """Give fp32 features ``(n, D)``, targets ``(n,)`` and indices ``(n,)`` of all images.

    ``pooled`` gives the penultimate features (for a ViT the CLS token). ``tokens`` gives the mean patch token of the
    last layer that ``network`` reads.

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
