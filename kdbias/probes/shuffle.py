"""How much of the accuracy survives when patches of the image change places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.shuffle import shuffle_patches
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import answers, no_classifier, scores


@builder("probe")
@dataclass(frozen=True)
class ShuffleProbe(Probe):
    """Accuracy on images whose patches are shuffled, by grid: what a network needs of global shape.

    Each image has its own permutation for each grid, a function of ``seed`` and its index, drawn from all, including
    the identity. Grid 1 is the image itself, and is always measured; the others must divide its size.

    Scalars: ``accuracy_<g>`` and, of the accuracy above chance, ``retention_<g>`` for each grid g > 1. Arrays, by
    grid: ``grids``; ``accuracy`` and ``retention`` with their 95 % ``_interval`` over images; ``right``
    ``(grids, n)``; and ``target``, ``index``.

    Source: as a stress, Zhang and Zhu 2019 (1905.09797); Naseer et al. 2021 (2105.10497) for vision transformers.
    """

    grids: Sequence[int] = (1, 2, 4, 8)
    seed: int = 0
    precision: Precision = "fp32"
    name: str = "shuffle"

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return no_classifier(network, "accuracy under patch shuffle")

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier, or a grid does not divide the images' size.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        grids = sorted({1, *self.grids})
        found = answers(network, batches, [partial(self._shuffled, grid) for grid in grids], self.precision)
        classes = int(network.info.classes or 0)
        by_grid = scores(found.right, found.right[0], classes)
        scalars = {}
        for place, grid in enumerate(grids):
            scalars[f"accuracy_{grid}"] = float(by_grid["accuracy"][place])
            if grid > 1:
                scalars[f"retention_{grid}"] = float(by_grid["retention"][place])
        arrays = {"grids": np.array(grids), **by_grid, "right": found.right, **found.labels}
        meta = {"n": len(found.target), "classes": classes, "seed": self.seed, "precision": self.precision}
        return Result(self.name, scalars, arrays, meta)

    def _shuffled(self, grid: int, batch: Batch) -> Tensor:
        size = batch.image.shape[-2:]
        if any(side % grid for side in size):
            raise ValueError(
                f"probe.shuffle.grids: {grid} patches to a side do not divide images of {size[0]}×{size[1]} pixels"
            )
        orders = [
            np.random.default_rng([self.seed, int(index), grid]).permutation(grid * grid) for index in batch.index
        ]
        return shuffle_patches(batch.image, torch.from_numpy(np.stack(orders)))
