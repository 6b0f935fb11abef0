"""How many of a teacher's answers, including its mistakes, a network gives too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.consistency import error_consistency
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor, Features
from kdbias.models.teacher import Teacher
from kdbias.probes.accuracy import logits_of
from kdbias.probes.base import Result
from kdbias.probes.observe import PassProbe, observe


@builder("probe")
@dataclass(frozen=True)
class AgreementProbe(PassProbe):
    """Agreement of a network with ``teacher``, each on its own view of the same images; the teacher in fp32.

    Two networks of high accuracy agree whatever taught them, so compare each number with the control's.
    Scalars: ``accuracy``, ``teacher_accuracy`` and their quotient ``transfer_efficiency``; ``agreement``, the share
    of images with the teacher's answer; ``same_error``, the share of the teacher's errors on which the network gives
    the same wrong answer (NaN if it makes none); ``kappa``, the consistency of being right and wrong beyond what
    both accuracies bring (NaN as in ``error_consistency``); ``kl``, the mean KL(teacher || network) in nats. Arrays,
    ``(n,)`` in the order of the batches: ``agree``, ``right`` and ``teacher_right`` bool, ``answer`` and
    ``teacher_answer``, ``kl``, ``target``, ``index``.

    Source of ``kappa``: Geirhos et al., NeurIPS 2020 (2006.16736).
    """

    teacher: Teacher
    precision: Precision = "fp32"
    name: str = "agreement"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: one of the two has no classifier, or their numbers of classes differ.
        """
        return observe(network, batches, {self.name: self})[self.name]

    def refuses(self, network: Extractor) -> str:
        """Say why agreement is not defined for ``network``; empty if it is defined."""
        return unlike_classes(network, self.teacher)

    def observer(self, reader: Extractor) -> Pairs:
        """Give what collects the answers of one pass.

        Raises:
            ValueError: as for a call.
        """
        if reason := self.refuses(reader):
            raise ValueError(reason)
        return Pairs(self.name, self.teacher, self.precision)


def unlike_classes(network: Extractor, teacher: Teacher) -> str:
    """Say why the answers of ``network`` and ``teacher`` cannot be compared; empty if they can."""
    own, theirs = network.info.classes, teacher.info.classes
    if theirs is None:
        return (
            f"the teacher {teacher.name} has no classifier (a self-supervised one?): there is no answer to agree with"
        )
    if own is None:
        return f"the network has no classifier, so no answer to compare with the teacher's ({teacher.name})"
    if own != theirs:
        return f"the teacher {teacher.name} has {theirs} classes and the network {own}: choose a teacher of this data"
    return ""


class Pair(NamedTuple):
    """The answers of both networks to one batch, each ``(B,)``."""

    answer: Tensor
    teacher_answer: Tensor
    kl: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]


@dataclass
class Pairs:
    """The answers of a network and of its teacher to the images that they are shown."""

    name: str
    teacher: Teacher
    precision: Precision
    parts: list[Pair] = field(default_factory=list)
    maps = False

    def see(self, batch: Batch, features: Features) -> None:
        """Take the answers to one batch; the teacher is asked here."""
        own = logits_of(features).log_softmax(1)
        theirs = logits_of(self.teacher(batch.teacher_image)).log_softmax(1)
        kl = (theirs.exp() * (theirs - own)).sum(1)
        self.parts.append(Pair(own.argmax(1), theirs.argmax(1), kl, batch.target, batch.index))

    def attention(self, layer: int, maps: Tensor) -> None:
        """Ignore attention."""

    def result(self) -> Result:
        """Give the numbers of all images seen."""
        all_ = Pair(*(torch.cat(part).cpu() for part in zip(*self.parts, strict=True)))
        right, teacher_right = all_.answer == all_.target, all_.teacher_answer == all_.target
        agree = all_.answer == all_.teacher_answer
        accuracy, teacher_accuracy = float(right.double().mean()), float(teacher_right.double().mean())
        scalars = {
            "accuracy": accuracy,
            "teacher_accuracy": teacher_accuracy,
            "transfer_efficiency": accuracy / teacher_accuracy if teacher_accuracy else math.nan,
            "agreement": float(agree.double().mean()),
            "same_error": float(agree[~teacher_right].double().mean()),
            "kappa": float(error_consistency(right, teacher_right)),
            "kl": float(all_.kl.double().mean()),
        }
        arrays = {
            "agree": agree,
            "right": right,
            "teacher_right": teacher_right,
            "answer": all_.answer.int(),
            "teacher_answer": all_.teacher_answer.int(),
            "kl": all_.kl,
            "target": all_.target,
            "index": all_.index,
        }
        meta = {"n": len(agree), "classes": self.teacher.info.classes, "teacher": self.teacher.name}
        meta["precision"] = self.precision
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)
