"""Accuracy on images that lack high or low spatial frequencies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.frequency import Band, Window, filtered, mean_height, response
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import answers, no_classifier, scores

BANDS: tuple[Band, ...] = ("low", "high")


@builder("probe")
@dataclass(frozen=True)
class FrequencyProbe(Probe):
    """Accuracy on images without the frequencies above a cutoff (low-pass), or below it (high-pass).

    ``cutoffs`` are radial, in fractions of the Nyquist frequency (0.5 cycles per pixel). The corners of the spectrum
    count as 1, so an ideal low-pass at 1 gives the unchanged image. Filters act on images in [0, 1], and the result is
    clamped to that range. A high-pass keeps the mean of each channel. ``window`` is ``ideal`` or ``gaussian``; the
    cutoff of a Gaussian is its standard deviation.

    Scalars: ``accuracy``, on the unchanged images; ``area_<band>`` and ``retention_area_<band>``, the mean height
    of the curves of accuracy and retention over the cutoffs. Arrays: ``cutoffs`` ``(K,)``; for each band
    ``accuracy_<band>`` and ``retention_<band>`` ``(K,)`` with ``_interval`` ``(K, 2)`` and ``right_<band>``
    ``(K, n)``; ``right`` ``(n,)``, on the unchanged images; ``target``, ``index``. Retention is the share of the
    accuracy above chance that is left.

    Source: Yin et al. 2019 (1906.08988); Geirhos et al. 2018 (1808.08750) for Gaussian windows.

    Raises:
        ValueError: a cutoff is not in (0, 1], or the window is unknown.
    """

    cutoffs: Sequence[float] = (0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0)
    window: Window = "ideal"
    precision: Precision = "fp32"
    name: str = "frequency"

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return no_classifier(network, "accuracy by frequency")

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        cutoffs = sorted(set(self.cutoffs))
        versions = [partial(self._filtered, cutoff, band) for band in BANDS for cutoff in cutoffs]
        found = answers(network, batches, [lambda batch: batch.image, *versions], self.precision)
        clean, right = found.right[0], found.right[1:].reshape(len(BANDS), len(cutoffs), -1)
        classes = int(network.info.classes or 0)
        scalars = {"accuracy": float(clean.mean())}
        arrays: dict[str, npt.NDArray[Any]] = {"cutoffs": np.array(cutoffs), "right": clean, **found.labels}
        for band, here in zip(BANDS, right, strict=True):
            by_cutoff = scores(here, clean, classes)
            for key, prefix in (("accuracy", "area"), ("retention", "retention_area")):
                area = mean_height(torch.tensor(cutoffs), torch.from_numpy(by_cutoff[key]))
                scalars[f"{prefix}_{band}"] = area
                arrays[f"{key}_{band}"] = by_cutoff[key]
                arrays[f"{key}_{band}_interval"] = by_cutoff[f"{key}_interval"]
            arrays[f"right_{band}"] = here
        meta = {"n": len(clean), "classes": classes, "window": self.window, "precision": self.precision}
        return Result(self.name, scalars, arrays, meta)

    def _filtered(self, cutoff: float, band: Band, batch: Batch) -> Tensor:
        height, width = batch.image.shape[-2:]
        passed = response((height, width), cutoff, band, self.window)
        return filtered(batch.image, passed).clamp(0, 1)
