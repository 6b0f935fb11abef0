"""Which layers represent pictures alike, within one network or between two."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from kdbias.batch import Batch
from kdbias.features import Extractor, Features, Layer
from kdbias.functional import StreamingCKA
from kdbias.probes.base import Reader, Result
from kdbias.probes.evaluation import Precision, evaluation


@dataclass(frozen=True)
class CKAProbe:
    """Debiased linear CKA between all layers of a network, or between its layers and those of ``other``.

    Exact over all ``n`` pictures in one pass, in sums over batches. A sample is a picture's mean patch token, or its
    CLS token (``tokens="cls"``). ``other``, an ``Extractor`` or a ``Teacher``, reads the teacher's view, and the
    layers that it was made to read.

    Arrays: ``cka``, ``(L, L)`` or ``(L, L')``; ``depth`` and ``other_depth``, of each layer in 0..1. Scalars within a
    network: ``first_last``, ``middle_last``, ``diversity`` (1 − mean off-diagonal); between two: ``alignment``, the
    mean over layers of the CKA with the other network's layer of nearest depth, and ``first_last``, ``last_last``.

    Source: Kornblith et al. 2019 (1905.00414), Nguyen et al. 2021 (2010.15327); Davari et al. 2023 (2210.16156) for
    what CKA does not show.
    """

    other: Reader | None = None
    tokens: Literal["mean", "cls"] = "mean"
    precision: Precision = "fp32"
    name: str = "cka"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: ``tokens="cls"`` and a layer has no CLS token, or there are too few pictures.
        """
        sums = StreamingCKA()
        with ExitStack() as stack:
            stack.enter_context(evaluation(network, self.precision))
            other: object = self.other
            if isinstance(other, nn.Module):  # a Teacher is no module and sees to this itself
                stack.enter_context(evaluation(other, self.precision))
            reader = network.reading(layers="all")
            for batch in batches:
                mine = self._samples(reader(batch.image))
                theirs = self._samples(self.other(batch.teacher_image)) if self.other is not None else None
                sums.update(mine, theirs)
        cka = sums.compute().cpu().numpy()
        meta = {"n": sums.n, "tokens": self.tokens, "precision": self.precision, "estimator": "debiased"}
        depth = _depths(reader.info.layers)
        if self.other is None:
            return Result(self.name, within(cka), {"cka": cka, "depth": depth}, meta)
        other_depth = _depths(self.other.info.layers)
        arrays = {"cka": cka, "depth": depth, "other_depth": other_depth}
        return Result(self.name, between(cka, depth, other_depth), arrays, meta)

    def _samples(self, features: Features) -> list[Tensor]:
        if self.tokens == "mean":
            return [tokens.float().mean(1) for tokens in features.tokens]
        if any(prefix.shape[1] == 0 for prefix in features.prefix):
            raise ValueError("CKAProbe(tokens='cls'): the network has no CLS token; use tokens='mean'")
        return [prefix[:, 0] for prefix in features.prefix]


def within(cka: npt.NDArray[np.float64]) -> dict[str, float]:
    """Summarise the ``(L, L)`` CKA of a network with itself; the middle layer is the lower one of two (5 of 0..11)."""
    layers = len(cka)
    scalars = {"first_last": float(cka[0, -1]), "middle_last": float(cka[(layers - 1) // 2, -1])}
    if layers > 1:
        scalars["diversity"] = 1 - float(cka[~np.eye(layers, dtype=bool)].mean())
    return scalars


def between(
    cka: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], other_depth: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Summarise the ``(L, L')`` CKA of two networks; on a square of equal depths ``alignment`` is the mean diagonal."""
    nearest = np.abs(depth[:, None] - other_depth[None, :]).argmin(1)
    return {
        "alignment": float(cka[np.arange(len(depth)), nearest].mean()),
        "first_last": float(cka[0, -1]),
        "last_last": float(cka[-1, -1]),
    }


def _depths(layers: tuple[Layer, ...]) -> npt.NDArray[np.float64]:
    return np.array([layer.depth for layer in layers])
