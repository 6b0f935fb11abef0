"""What a network's features tell of the classes with nothing trained on them: nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.knn import weighted_knn
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.frozen import Frozen, Read, Splits, read_frozen


@builder("probe")
@dataclass(frozen=True)
class KNNProbe(Probe):
    """Accuracy of weighted k-nearest neighbours among the first ``bank`` training images of ``data``.

    Scalars: ``knn``. Arrays: ``right`` ``(n,)`` bool, ``target`` and ``index`` ``(n,)``, in the order of the batches.
    ``bank`` None takes all training images; ``features`` as in ``read_features``.

    Source: Wu et al., CVPR 2018, arXiv:1805.01978.
    """

    judges_answers: ClassVar[bool] = False

    data: Splits
    bank: int | None = 5000
    k: int = 20
    temperature: float = 0.07
    features: Read = "pooled"
    precision: Precision = "fp32"
    name: str = "knn"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``."""
        return self.judge(read_frozen(network, self.data, self.bank, batches, self.features, self.precision))

    def judge(self, frozen: Frozen) -> Result:
        """Measure features that were read before, as the probe reads them."""
        classes = self.data.info.classes
        scores = weighted_knn(frozen.known, frozen.labels, frozen.queries, classes, self.k, self.temperature)
        right = scores.argmax(1) == frozen.target
        arrays = {"right": right, "target": frozen.target, "index": frozen.index}
        meta: dict[str, Any] = {"n": len(right), "bank": len(frozen.labels)}
        meta |= {"k": self.k, "temperature": self.temperature}
        meta |= {"features": self.features, "precision": self.precision}
        scalars = {"knn": float(right.double().mean())}
        return Result(self.name, scalars, {key: array.cpu().numpy() for key, array in arrays.items()}, meta)
