"""What several networks answer to many versions of the same images, in one pass over the clean ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.data.augment import to_float
from kdbias.functional.rank import reciprocal_rank
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.probes.accuracy import logits_of
from kdbias.probes.versions import NO_IMAGES
from kdbias.stress.base import Version
from kdbias.stress.kept import Stressed

OWN = "network"
"""The key of the network that is measured, among the networks that are asked."""


@dataclass(frozen=True)
class Answers:
    """Answers of each network ``(V, n)`` to V versions of n images, with the images' classes and positions ``(n,)``.

    A network that was not asked about a version answers -1. ``ranks`` holds the reciprocal rank of the right class
    ``(n,)``, given by the network that is measured, for the versions that it was asked for.
    """

    answer: Mapping[str, npt.NDArray[np.int64]]
    ranks: Mapping[int, npt.NDArray[np.float64]]
    target: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    def right(self, reader: str = OWN) -> npt.NDArray[np.bool_]:
        """Whether each answer of a network is right, ``(V, n)``."""
        return np.equal(self.answer[reader], self.target)


class Columns:
    """Numbers ``(rows, n)`` that come a few columns at a time, in one array that doubles where it is full.

    Small arrays that live on among the images of the batches would keep the allocator from using their memory again:
    10 kB an image was measured, for 50 bytes that are kept.
    """

    def __init__(self, rows: int, kind: torch.dtype) -> None:
        self._held = torch.zeros(rows, 1024, dtype=kind)
        self._count = 0

    def add(self, values: Tensor) -> None:
        """Take ``values`` ``(rows, k)``."""
        end = self._count + values.shape[1]
        while end > self._held.shape[1]:
            self._held = torch.cat([self._held, torch.zeros_like(self._held)], 1)
        self._held[:, self._count : end] = values
        self._count = end

    def array(self) -> npt.NDArray[Any]:
        """Give what came, ``(rows, n)``."""
        return self._held[:, : self._count].contiguous().numpy()


def ask(
    readers: Mapping[str, Extractor | Teacher],
    batches: Iterable[Batch],
    versions: Sequence[Version],
    *,
    precision: Precision = "fp32",
    ranked: Collection[int] = (),
    only: Mapping[str, Collection[int]] | None = None,
) -> Answers:
    """Ask each network for its answer to each version; one batch is in memory at a time.

    ``precision`` is that of the measured network; the others compute in fp32. ``ranked`` are the versions whose ranks
    are wanted, ``only`` the versions that a network is asked about, if not all.

    Raises:
        ValueError: a network has no classifier, or there are no images.
    """
    found = {reader: Columns(len(versions), torch.int64) for reader in readers}
    ranks = {version: Columns(1, torch.float64) for version in ranked}
    labels = Columns(2, torch.int64)
    with ExitStack() as stack:
        for reader in readers.values():
            stack.enter_context(evaluation(reader.extractor if isinstance(reader, Teacher) else reader))
        for batch in batches:
            answer = {reader: torch.full((len(versions), len(batch.target)), -1) for reader in readers}
            for place, version in enumerate(versions):
                image = version(batch)
                for name, reader in readers.items():
                    if only is not None and place not in only.get(name, range(len(versions))):
                        continue
                    logits = _logits(reader, image, precision if name == OWN else "fp32")
                    answer[name][place] = logits.argmax(1).cpu()
                    if name == OWN and place in ranks:
                        ranks[place].add(reciprocal_rank(logits, batch.target).cpu()[None])
            for name, given in answer.items():
                found[name].add(given)
            labels.add(torch.stack([batch.target.cpu(), batch.index.cpu()]))
    target, index = labels.array()
    if not len(target):
        raise ValueError(NO_IMAGES)
    return Answers(
        {name: columns.array() for name, columns in found.items()},
        {place: columns.array()[0] for place, columns in ranks.items()},
        target,
        index,
    )


def _logits(reader: Extractor | Teacher, image: Tensor, precision: Precision) -> Tensor:
    with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        return logits_of(reader(image))


def stored_version(stressed: Stressed, name: str) -> Version:
    """Give the version of a batch's images in a stress set; their labels must be those of the batch.

    The version raises:
        ValueError: the set has no such image, or another label for one of them.
    """

    def version(batch: Batch) -> Tensor:
        rows = batch.index.cpu()
        if int(rows.max()) >= len(stressed.target) or not torch.equal(stressed.target[rows], batch.target.cpu()):
            raise ValueError(f"probe.bias: the images of {name} are not those of the split: labels or numbers differ")
        return to_float(stressed.image[rows].to(batch.image.device))

    return version


def own_batches(stressed: Stressed, size: int, device: torch.device) -> Iterator[Batch]:
    """Give the images of a set by themselves, in batches."""
    for start in range(0, len(stressed.target), size):
        rows = torch.arange(start, min(start + size, len(stressed.target)))
        image = to_float(stressed.image[rows].to(device))
        yield Batch(image, stressed.target[rows].to(device), rows.to(device), image)
