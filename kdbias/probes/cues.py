"""Whether a network decides by shape or by texture if the two disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.cue import shape_share
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.probes.accuracy import class_scores
from kdbias.probes.base import Probe, Result

Cue = Literal["shape", "texture"]
CUES: tuple[Cue, ...] = ("shape", "texture")


class CueVariants(Protocol):
    """Images whose shape and texture are known, such as ``data=cues``."""

    def variant(self, name: Literal["conflict", "shape", "texture"], n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give ``n`` images ``(n, C, H, W)`` uint8 and the classes ``(n,)`` of shape and texture.

        In ``conflict`` the two classes differ in every image. In ``shape`` and ``texture`` only that cue is present.
        """
        ...


@builder("probe")
@dataclass(frozen=True)
class CueProbe(Probe):
    """Cue-conflict shape share, and accuracy on images with only one of the cues.

    ``source`` gives ``images`` images of each variant, so the probe does not read the batches that it is called with.

    Scalars: ``shape_share``, decisions for the shape divided by decisions for shape or texture (NaN if there is no
    such decision); ``decided``, the share of images with such a decision (if it is small, ``shape_share`` says
    little); ``accuracy_shape`` and ``accuracy_texture``. Arrays, ``(n,)``: ``answer``, the predicted class;
    ``decided`` and ``by_shape``, bool; ``shape`` and ``texture``, the two classes; ``right_shape`` and
    ``right_texture``, bool, on the images with one cue.

    Source: Geirhos et al. 2019 (1811.12231); Burgert et al. 2025 on preference and reliance.
    """

    source: CueVariants
    images: int = 5000
    batch_size: int = 500
    precision: Precision = "fp32"
    name: str = "cues"

    def __call__(self, network: Extractor, batches: Iterable[Batch] = ()) -> Result:
        """Measure ``network``."""
        images, shape, texture = self.source.variant("conflict", self.images)
        logits = self._scores(network, images)
        share, decided, by_shape = shape_share(logits, shape, texture)
        scalars = {"shape_share": float(share), "decided": float(decided.double().mean())}
        arrays: dict[str, npt.NDArray[Any]] = {
            "answer": logits.argmax(1).numpy(),
            "decided": decided.numpy(),
            "by_shape": by_shape.numpy(),
            "shape": shape.numpy(),
            "texture": texture.numpy(),
        }
        for cue in CUES:
            right = self._right(network, cue)
            scalars[f"accuracy_{cue}"] = float(right.double().mean())
            arrays[f"right_{cue}"] = right.numpy()
        return Result(self.name, scalars, arrays, {"n": len(images), "precision": self.precision})

    def refuses(self, network: Extractor) -> str:
        """Say why the source has no such images; empty if it has."""
        known = hasattr(self.source, "variant")
        return "" if known else "its data has no images of known shape and texture (data=cues has)"

    def _right(self, network: Extractor, cue: Cue) -> Tensor:
        images, shape, texture = self.source.variant(cue, self.images)
        return self._scores(network, images).argmax(1) == (shape if cue == "shape" else texture)

    def _scores(self, network: Extractor, images: Tensor) -> Tensor:
        device = next(network.parameters()).device
        with evaluation(network, self.precision):
            parts = torch.split(images, self.batch_size)
            return torch.cat([class_scores(network, part.to(device).float() / 255) for part in parts]).cpu()
