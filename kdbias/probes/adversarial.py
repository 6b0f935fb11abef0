"""Whether images made to mislead a teacher mislead the network too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.adversarial import pgd
from kdbias.models.evaluation import evaluation
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.probes.accuracy import class_scores
from kdbias.probes.agreement import unlike_classes
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import take

ATTACKS = ("pgd", "fgsm")


@builder("probe")
@dataclass(frozen=True)
class AdversarialProbe(Probe):
    """Adversarial transfer: images made against ``teacher``, within ``epsilon`` of each pixel, shown to a network.

    Only the first ``images`` images are used, and of these, those that both get right when clean (``counted``: their
    share). Scalars, for ``pgd`` (of ``steps`` steps) and ``fgsm`` (one step): ``<attack>_fooled``, the share that the
    network gets wrong; ``<attack>_teacher_fooled``, the teacher's own share; ``<attack>_same_answer``, the share with
    the same wrong answer among images that fool both. ``turned_fooled`` is the network's share under the PGD
    perturbation turned by 180°, which has the same size but no aim; a share that is not above it is fragility, not
    transfer. Compare each number with the control's. Arrays, ``(n,)``: ``right`` and ``teacher_right`` (clean), and for
    each attack ``<attack>_wrong``, ``<attack>_teacher_wrong``, ``<attack>_same_answer`` and ``turned_wrong``, bool, of
    all images shown; ``target``, ``index``. A share of no images is NaN.

    Both read the image that the network sees. The attack is deterministic, untargeted and in fp32; its gradients are
    of the image alone.

    Source: Ojha et al., NeurIPS 2023 (2205.16004); Madry et al. 2018 (1706.06083).
    """

    teacher: Teacher
    epsilon: float = 8 / 255
    steps: int = 10
    images: int | None = 1000
    batch_size: int = 64
    name: str = "adversarial"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: one of the two has no classifier, or their numbers of classes differ.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        extractor = self.teacher.extractor.to(next(network.parameters()).device)
        parts: list[dict[str, Tensor]] = []
        with evaluation(network), evaluation(extractor):
            for batch in take(batches, self.images, self.batch_size):
                parts.append(self._batch(network, extractor, batch) | {"target": batch.target, "index": batch.index})
        arrays = {key: torch.cat([part[key] for part in parts]).cpu() for key in parts[0]}
        meta: dict[str, Any] = {"n": len(arrays["target"]), "teacher": self.teacher.name}
        meta |= {"epsilon": self.epsilon, "steps": self.steps, "precision": "fp32"}
        return Result(self.name, _scalars(arrays), {key: array.numpy() for key, array in arrays.items()}, meta)

    def refuses(self, network: Extractor) -> str:
        """Say why transfer is not defined for ``network``; empty if it is defined."""
        return unlike_classes(network, self.teacher)

    def _batch(self, network: Extractor, teacher: Extractor, batch: Batch) -> dict[str, Tensor]:
        """Give for one batch, clean and attacked, whether each answer is wrong and whether both are the same."""
        image, target = batch.image, batch.target

        def scores(shown: Tensor) -> Tensor:
            return class_scores(teacher, shown)

        seen = {"right": class_scores(network, image).argmax(1) == target}
        seen["teacher_right"] = scores(image).argmax(1) == target
        found = image
        for attack, steps in zip(ATTACKS, (self.steps, 1), strict=True):
            made = pgd(scores, image, target, epsilon=self.epsilon, steps=steps)
            found = made if attack == "pgd" else found
            own, theirs = class_scores(network, made).argmax(1), scores(made).argmax(1)
            seen[f"{attack}_wrong"], seen[f"{attack}_teacher_wrong"] = own != target, theirs != target
            seen[f"{attack}_same_answer"] = own == theirs
        turned = (image + (found - image).flip((-2, -1))).clamp(0, 1)
        seen["turned_wrong"] = class_scores(network, turned).argmax(1) != target
        return seen


def _scalars(arrays: dict[str, Tensor]) -> dict[str, float]:
    counted = arrays["right"] & arrays["teacher_right"]
    scalars = {"counted": share(counted)}
    for attack in ATTACKS:
        own, theirs = arrays[f"{attack}_wrong"][counted], arrays[f"{attack}_teacher_wrong"][counted]
        scalars[f"{attack}_fooled"], scalars[f"{attack}_teacher_fooled"] = share(own), share(theirs)
        scalars[f"{attack}_same_answer"] = share(arrays[f"{attack}_same_answer"][counted][own & theirs])
    scalars["turned_fooled"] = share(arrays["turned_wrong"][counted])
    return scalars


def share(which: Tensor) -> float:
    """Give the part of ``(n,)`` bool that is True; NaN of an empty one."""
    return float(which.double().mean())
