"""What a network's features tell of the classes by a linear classifier trained on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.logistic import logistic_regression, standardised
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.frozen import Frozen, Read, Splits, read_frozen


@builder("probe")
@dataclass(frozen=True)
class LinearProbe(Probe):
    """Accuracy of logistic regression on frozen features, trained on the first ``bank`` training images of ``data``.

    Features are standardised by the training images; nothing is augmented. Scalars: ``linear``, and
    ``linear_train`` on the images that it was trained on. Arrays: as ``KNNProbe``. ``bank`` None takes all training
    images; ``l2`` as in ``logistic_regression``; ``features`` as in ``read_features``.

    Source: Alain and Bengio, 2016, arXiv:1610.01644; Kornblith et al., CVPR 2019, arXiv:1805.08974, for L-BFGS.
    """

    judges_answers: ClassVar[bool] = False

    data: Splits
    bank: int | None = None
    l2: float = 1e-3
    iterations: int = 200
    features: Read = "pooled"
    precision: Precision = "fp32"
    name: str = "linear"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``."""
        return self.judge(read_frozen(network, self.data, self.bank, batches, self.features, self.precision))

    def judge(self, frozen: Frozen) -> Result:
        """Measure features that were read before, as the probe reads them."""
        labels, target = frozen.labels, frozen.target
        known, queries = standardised(frozen.known, frozen.queries)
        weight, bias = logistic_regression(known, labels, self.data.info.classes, self.l2, self.iterations)
        right = F.linear(queries, weight, bias).argmax(1) == target
        trained = F.linear(known, weight, bias).argmax(1) == labels
        scalars = {"linear": float(right.double().mean()), "linear_train": float(trained.double().mean())}
        arrays = {"right": right, "target": target, "index": frozen.index}
        meta: dict[str, Any] = {"n": len(target), "bank": len(labels), "l2": self.l2}
        meta |= {"features": self.features, "precision": self.precision}
        return Result(self.name, scalars, {key: array.cpu().numpy() for key, array in arrays.items()}, meta)
