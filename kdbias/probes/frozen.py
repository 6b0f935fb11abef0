"""What probes of frozen features share: the pictures that they learn from, and the features themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.features import Extractor
from kdbias.probes.evaluation import Precision, evaluation

Read = Literal["pooled", "tokens"]


class Splits(Protocol):
    """Plain pictures of a data set by split, such as ``kdbias.data.base.PictureData``."""

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
        """Give the pictures of a split in order, the first ``limit`` of them."""
        ...


def check_read(read: str) -> None:
    """Pass a known choice of features."""
    if read not in get_args(Read):
        raise ValueError(f"features must be one of {', '.join(get_args(Read))}, got {read!r}")


def read_features(
    network: Extractor, batches: Iterable[Batch], read: Read, precision: Precision
) -> tuple[Tensor, Tensor, Tensor]:
    """Give fp32 features ``(n, D)``, targets ``(n,)`` and positions ``(n,)`` of all pictures.

    ``pooled`` are the penultimate features (a ViT's CLS token), ``tokens`` the mean of the last layer's patch tokens,
    among the layers that ``network`` reads.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluation(network, precision):
        for batch in batches:
            found = network(batch.image)
            features = found.pooled if read == "pooled" else found.tokens[-1].float().mean(1)
            parts.append((features.float(), batch.target, batch.index))
    if not parts:
        raise ValueError("there are no pictures to read features of")
    features, target, index = (torch.cat(part) for part in zip(*parts, strict=True))
    return features, target, index
