"""Whether a network answers the same when the image moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.shift import Padding, shift_images
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import answers, no_classifier

Direction = Literal["horizontal", "vertical", "diagonal"]
DIRECTIONS: tuple[Direction, ...] = ("horizontal", "vertical", "diagonal")


@builder("probe")
@dataclass(frozen=True)
class ShiftProbe(Probe):
    """Share of images whose answer stays when they move by some pixels, and the accuracy on the moved images.

    ``shifts`` are pixels; a diagonal shift moves by that many along both axes. Each image moves to one side or the
    other, a function of ``seed`` and its index, the same at all shifts. ``padding`` says what comes in at the edge.

    Scalars: ``consistency_<d>`` and ``accuracy_<d>`` for each shift d, the mean over directions; ``consistency``, the
    mean over shifts. Arrays: ``shifts`` ``(S,)``, 0 first; ``consistency`` and ``accuracy`` ``(3, S)``, by direction
    (horizontal, vertical, diagonal); ``answer`` ``(3, S, n)``; and ``target``, ``index``.

    Source: Zhang, ICML 2019 (1904.11486), who compares two random shifts; here one of the two is zero.
    """

    shifts: Sequence[int] = (1, 2, 3, 4, 6, 8)
    padding: Padding = "reflect"
    seed: int = 0
    precision: Precision = "fp32"
    name: str = "shift"

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return no_classifier(network, "shift consistency")

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier, or a shift is as large as the images.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        moved = sorted({*self.shifts} - {0})
        versions = [partial(self._shifted, pixels, direction) for direction in DIRECTIONS for pixels in moved]
        found = answers(network, batches, [lambda batch: batch.image, *versions], self.precision)
        n = len(found.target)
        still = np.broadcast_to(found.answer[0], (len(DIRECTIONS), 1, n))
        answer = np.concatenate([still, found.answer[1:].reshape(len(DIRECTIONS), len(moved), n)], axis=1)
        consistency = (answer == found.answer[0]).mean(-1)
        accuracy = (answer == found.target).mean(-1)
        scalars = {}
        for place, pixels in enumerate((0, *moved)):
            if pixels > 0:
                scalars[f"consistency_{pixels}"] = float(consistency[:, place].mean())
            scalars[f"accuracy_{pixels}"] = float(accuracy[:, place].mean())
        if moved:
            scalars["consistency"] = float(consistency[:, 1:].mean())
        arrays = {
            "shifts": np.array([0, *moved]),
            "consistency": consistency,
            "accuracy": accuracy,
            "answer": answer.astype(np.int16),
            **found.labels,
        }
        meta = {
            "n": n,
            "classes": network.info.classes,
            "directions": list(DIRECTIONS),
            "padding": self.padding,
            "seed": self.seed,
            "precision": self.precision,
        }
        return Result(self.name, scalars, arrays, meta)

    def _shifted(self, pixels: int, direction: Direction, batch: Batch) -> Tensor:
        size = min(batch.image.shape[-2:])
        if pixels >= size:
            raise ValueError(f"probe.shift.shifts: {pixels} pixels are too many for images of {size} pixels")
        signs = [np.random.default_rng([self.seed, int(index)]).choice([-1, 1], size=2) for index in batch.index]
        steps = torch.from_numpy(np.stack(signs)) * pixels
        none = torch.zeros_like(steps[:, 0])
        down, right = steps[:, 0], steps[:, 1]
        if direction == "horizontal":
            return shift_images(batch.image, none, right, self.padding)
        return shift_images(batch.image, down, none if direction == "vertical" else right, self.padding)
