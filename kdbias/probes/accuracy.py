"""How often a network is right, at what, and how sure it should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    binary_roc,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.data.base import ImageData
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor, Features
from kdbias.probes.base import Result
from kdbias.probes.observe import PassProbe, observe
from kdbias.probes.tta import View, averaged, views

BINS = 15
CURVE = 101  # points kept of each class's ROC


@builder("probe")
@dataclass(frozen=True)
class AccuracyProbe(PassProbe):
    """Accuracy and related measures, and for the statistics, which images are answered right.

    Scalars: ``accuracy``; ``top5`` (with more than five classes); ``precision``, ``recall`` and ``f1``, means over
    classes; ``auc``, the mean area under the one-vs-rest ROC of the classes that have images (NaN if there
    is only one); ``loss`` (cross-entropy, nats); ``ece`` (15 bins, L1). Arrays, ``(n,)`` in the order of the batches:
    ``right`` bool, ``answer``, ``target``, ``index``, and ``confidence``, the probability of the answer;
    ``confusion`` ``(C, C)``, rows are the true classes; ``roc_fpr`` and ``roc_tpr`` ``(C, 101)``, each class's ROC
    thinned to evenly spaced points along it (NaN if the class has no images, or all of them).

    ``tta`` answers each image by the mean probabilities of its views: moved by ``shift`` pixels in four directions
    and, with ``flip``, mirrored (leave it out for digits). ``data`` names the classes.

    Source of ``ece``: Guo et al. 2017 (1706.04599).
    """

    precision: Precision = "fp32"
    tta: bool = False
    flip: bool = True
    shift: int = 2
    data: ImageData | None = None
    name: str = "accuracy"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier.
        """
        return observe(network, batches, {self.name: self})[self.name]

    def refuses(self, network: Extractor) -> str:
        """Say why accuracy is not defined for ``network``; empty if it is defined."""
        return NO_CLASSIFIER if network.info.classes is None else ""

    def observer(self, reader: Extractor) -> Predictions:
        """Give what collects the answers of one pass.

        Raises:
            ValueError: the network has no classifier.
        """
        if reason := self.refuses(reader):
            raise ValueError(reason)
        names = () if self.data is None else self.data.info.names
        seen = views(flip=self.flip, shift=self.shift) if self.tta else ()
        return Predictions(self.name, self.precision, reader, seen, names)


NO_CLASSIFIER = "the network has no classifier (a self-supervised one?): accuracy is not defined for it"


@dataclass
class Predictions:
    """The answers of one network to the images that it is shown; if there are ``views``, ``reader`` reads them."""

    name: str
    precision: Precision
    reader: Extractor
    views: Sequence[View] = ()
    names: Sequence[str] = ()
    parts: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    maps = False

    def see(self, batch: Batch, features: Features) -> None:
        """Take the answers to one batch.

        Raises:
            ValueError: the network has no classifier.
        """
        logits = self._averaged(batch.image) if self.views else logits_of(features)
        self.parts.append((logits, batch.target, batch.index))

    def _averaged(self, image: Tensor) -> Tensor:
        """Logits whose softmax are the mean probabilities of the views."""
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            probabilities = averaged(self.reader, image, self.views)
        return probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()

    def attention(self, layer: int, maps: Tensor) -> None:
        """Ignore attention."""

    def result(self) -> Result:
        """Give the numbers of all images seen."""
        logits, target, index = (torch.cat(part).cpu() for part in zip(*self.parts, strict=True))
        n, classes = logits.shape
        probabilities = logits.softmax(1)
        confidence, answer = probabilities.max(1).values, logits.argmax(1)
        curves = roc_curves(logits, target)
        arrays = {
            "right": answer == target,
            "answer": answer.int(),
            "target": target,
            "index": index,
            "confidence": confidence,
            "confusion": multiclass_confusion_matrix(answer, target, classes),
            "roc_fpr": torch.stack([thin(*curve)[0] for curve in curves]),
            "roc_tpr": torch.stack([thin(*curve)[1] for curve in curves]),
        }
        scalars = {"accuracy": float(arrays["right"].double().mean()), "loss": float(cross_entropy(logits, target))}
        if classes > 5:
            scalars["top5"] = float((logits.topk(5).indices == target[:, None]).any(1).double().mean())
        scalars["ece"] = float(multiclass_calibration_error(probabilities, target, classes, n_bins=BINS))
        scalars["precision"] = float(multiclass_precision(answer, target, classes, average="macro"))
        scalars["recall"] = float(multiclass_recall(answer, target, classes, average="macro"))
        scalars["f1"] = float(multiclass_f1_score(answer, target, classes, average="macro"))
        scalars["auc"] = float(torch.stack([torch.trapezoid(tpr, fpr) for fpr, tpr in curves]).nanmean())
        meta: dict[str, Any] = {"n": n, "classes": classes, "precision": self.precision, "views": len(self.views) or 1}
        if self.names:
            meta["names"] = list(self.names)
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)


def roc_curves(logits: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Give each class's one-vs-rest ROC, ``(false, true)`` positive rates ``(k,)``, by its probability among all.

    A class that has no images, or all of them, has no ROC; its curve is two points of NaN.
    """
    none = torch.full((2,), float("nan"))
    curves = []
    for number, score in enumerate(logits.double().softmax(1).unbind(1)):
        positive = target == number
        if bool(positive.any()) and not bool(positive.all()):
            false, true, _ = binary_roc(score, positive.int(), thresholds=None)
            curves.append((false.float(), true.float()))
        else:
            curves.append((none, none))
    return curves


def thin(false: Tensor, true: Tensor, points: int = CURVE) -> tuple[Tensor, Tensor]:
    """Keep ``points`` evenly spaced points of a curve, including both ends.

    A shorter curve keeps all its points, and its last one is repeated. Both rates are ``(n,)`` in 0..1; the result is
    two tensors ``(points,)``. The distance along the curve is the sum of both rates; at each step one of them grows.
    """
    along = (false + true).contiguous()
    if len(along) <= points:
        kept = torch.arange(points).clamp(max=len(along) - 1)
    else:
        kept = torch.searchsorted(along, torch.linspace(0, 2, points)).clamp(max=len(along) - 1)
    return false[kept], true[kept]


def class_scores(network: Extractor, image: Tensor) -> Tensor:
    """Give the fp32 logits ``(B, C)`` of ``network``.

    Raises:
        ValueError: it has no classifier.
    """
    return logits_of(network(image))


def logits_of(features: Features) -> Tensor:
    """Give the fp32 logits ``(B, C)``.

    Raises:
        ValueError: the network has no classifier.
    """
    if features.logits is None:
        raise ValueError(NO_CLASSIFIER)
    return features.logits.float()
