"""How often a network is right, and how sure it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from kdbias.batch import Batch
from kdbias.features import Extractor, Features
from kdbias.probes.base import Result
from kdbias.probes.evaluation import Precision, evaluation


@dataclass(frozen=True)
class AccuracyProbe:
    """Accuracy, top-5, loss, calibration and confusion, with what the statistics need: which pictures came out right.

    Arrays: ``right`` ``(n,)`` bool, ``target`` ``(n,)`` and ``index`` ``(n,)``, in the order of the batches;
    ``confusion`` ``(C, C)``, rows are the true classes. Scalars: ``accuracy``, ``top5`` (with more than five classes),
    ``loss`` (cross-entropy, nats), ``ece``.

    Source of ``ece`` (15 bins, L1): Guo et al. 2017 (1706.04599).
    """

    precision: Precision = "fp32"
    name: str = "accuracy"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier.
        """
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        with evaluation(network, self.precision):
            for batch in batches:
                parts.append((class_scores(network, batch.image), batch.target, batch.index))
        logits, target, index = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        n, classes = logits.shape
        right = logits.argmax(1) == target
        scalars = {"accuracy": float(right.double().mean()), "loss": float(cross_entropy(logits, target))}
        if classes > 5:
            scalars["top5"] = float((logits.topk(5).indices == target[:, None]).any(1).double().mean())
        scalars["ece"] = float(multiclass_calibration_error(logits.softmax(1), target, classes, n_bins=15))
        confusion = multiclass_confusion_matrix(logits, target, classes)
        arrays = {"right": right, "target": target, "index": index, "confusion": confusion}
        meta = {"n": n, "classes": classes, "precision": self.precision}
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)


def class_scores(network: Extractor, image: Tensor) -> Tensor:
    """Give the fp32 logits ``(B, C)`` of ``network``.

    Raises:
        ValueError: it has no classifier.
    """
    features: Features = network(image)
    if features.logits is None:
        raise ValueError("the network has no classifier (a self-supervised one?): accuracy is not defined for it")
    return features.logits.float()
