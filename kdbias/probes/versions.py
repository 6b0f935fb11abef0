"""What a network answers to several versions of the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdbias import stats
from kdbias.batch import Batch
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.probes.accuracy import class_scores
from kdbias.stress.base import Version

NO_IMAGES = "there are no images to probe with: images must be at least 1, the split not empty"


@dataclass(frozen=True)
class VersionAnswers:
    """Answers ``(V, n)`` to V versions of n images, with the images' classes and positions ``(n,)``."""

    answer: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each answer is right, ``(V, n)``."""
        return np.equal(self.answer, self.target)

    @property
    def labels(self) -> dict[str, npt.NDArray[Any]]:
        """``target`` and ``index`` as arrays of a Result."""
        return {"target": self.target, "index": self.index}


def answers(
    network: Extractor, batches: Iterable[Batch], versions: Sequence[Version], precision: Precision = "fp32"
) -> VersionAnswers:
    """Ask ``network`` for its answer to each version of each image.

    Raises:
        ValueError: the network has no classifier, or there are no images.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluation(network, precision):
        for batch in batches:
            found = [class_scores(network, version(batch)).argmax(1) for version in versions]
            parts.append((torch.stack(found).cpu(), batch.target.cpu(), batch.index.cpu()))
    if not parts:
        raise ValueError(NO_IMAGES)
    answer, target, index = zip(*parts, strict=True)
    return VersionAnswers(torch.cat(answer, 1).numpy(), torch.cat(target).numpy(), torch.cat(index).numpy())


def scores(right: npt.NDArray[np.bool_], clean: npt.NDArray[np.bool_], classes: int) -> dict[str, npt.NDArray[Any]]:
    """Score V versions by their right answers ``(V, n)`` and those ``(n,)`` to the clean images.

    ``accuracy`` and ``retention`` ``(V,)`` (of the accuracy above chance), each with its 95 % ``_interval`` ``(V, 2)``
    over images. Retention is NaN if clean accuracy is not above chance.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    for name, estimates in (
        ("accuracy", [stats.accuracy(row) for row in right]),
        ("retention", [stats.retention(row, clean, classes) for row in right]),
    ):
        found[name] = np.array([estimate.value for estimate in estimates])
        found[f"{name}_interval"] = np.array([(estimate.low, estimate.high) for estimate in estimates])
    return found


def take(batches: Iterable[Batch], limit: int | None, size: int) -> Iterator[Batch]:
    """Give the first ``limit`` images (None: all) in batches of at most ``size``: what gradients are computed for at
    once.

    Raises:
        ValueError: there are no images.
    """
    seen = 0
    for batch in batches:
        whole = Batch(*(part[: None if limit is None else limit - seen] for part in batch))
        seen += len(whole.target)
        for parts in zip(*(torch.split(part, size) for part in whole), strict=True):
            yield Batch(*parts)
        if limit is not None and seen >= limit:
            return
    if not seen:
        raise ValueError(NO_IMAGES)


def no_classifier(network: Extractor, measure: str) -> str:
    """Say why ``measure`` is not defined for ``network`` if it has no classifier; empty if it has one."""
    if network.info.classes is None:
        return f"the network has no classifier (a self-supervised one?): {measure} is not defined for it"
    return ""
