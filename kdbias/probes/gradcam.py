"""Where in an image the evidence for a network's prediction lies: Grad-CAM."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.probes.accuracy import class_scores
from kdbias.probes.base import Probe, Result
from kdbias.probes.gradcam_map import activation_map
from kdbias.probes.versions import no_classifier, take


class Named(Protocol):
    """Data whose classes have names."""

    @property
    def info(self) -> DataInfo:
        """Sizes, names and statistics."""
        ...


@builder("probe")
@dataclass(frozen=True)
class GradCAMProbe(Probe):
    """Grad-CAM of the first images, and how the maps are spread over the image.

    Maps are those of the predicted class (``target="answer"``) or of the label (``"class"``), at ``layer`` (see
    ``activation_map``). For the scalars they are resampled bilinearly to the image's size. ``source`` gives the class
    names.

    Scalars, means over those of the first ``images`` images whose map is not 0: ``centre``, the share of the map's sum
    in the central quarter of the image's area (.25 for a uniform map), and ``entropy`` of the map over pixels, divided
    by that of a uniform map. ``empty`` is the share of images whose map is 0, because nothing speaks for the class.
    Arrays of the first ``shown`` images: ``image`` ``(k, H, W, C)`` uint8, ``map`` ``(k, h, w)`` in 0..1, ``answer``,
    ``target``, ``index``. Arrays of all images, ``(n,)``: ``centres`` and ``entropies``, NaN for a map of 0.

    Source: Selvaraju et al., ICCV 2017 (1610.02391).

    Raises:
        ValueError: ``target`` is unknown, a number is below 1, or ``precision`` is not fp32.
    """

    source: Named | None = None
    images: int = 256
    shown: int = 12
    target: Literal["answer", "class"] = "answer"
    layer: int = -1
    batch_size: int = 64
    precision: Precision = "fp32"
    name: str = "gradcam"

    def __post_init__(self) -> None:
        if self.precision != "fp32":
            raise ValueError("probe.gradcam.precision: gradients are taken in fp32")

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return no_classifier(network, "Grad-CAM")

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: the network has no classifier or no such layer, its logits do not depend on that layer's patch
                tokens, or there are no images.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        parts = [self._look(network, batch) for batch in take(batches, self.images, self.batch_size)]
        image, maps, centres, entropies, answer, target, index = (
            torch.cat(part).cpu() for part in zip(*parts, strict=True)
        )
        arrays = {
            "image": (image[: self.shown].permute(0, 2, 3, 1) * 255).round().byte(),
            "map": maps[: self.shown],
            "answer": answer[: self.shown],
            "target": target[: self.shown],
            "index": index[: self.shown],
            "centres": centres,
            "entropies": entropies,
        }
        scalars = {
            "centre": float(centres.nanmean()),
            "entropy": float(entropies.nanmean()),
            "empty": float(centres.isnan().double().mean()),
        }
        meta = {
            "n": len(target),
            "names": [] if self.source is None else list(self.source.info.names),
            "of": self.target,
            "layer": self.layer,
            "precision": self.precision,
        }
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)

    def _look(self, network: Extractor, batch: Batch) -> tuple[Tensor, ...]:
        with evaluation(network, self.precision):
            answer = class_scores(network, batch.image).argmax(1)
        maps = activation_map(network, batch.image, answer if self.target == "answer" else batch.target, self.layer)
        centres, entropies = spread(maps, (batch.image.shape[-2], batch.image.shape[-1]))
        return batch.image, maps, centres, entropies, answer, batch.target, batch.index


def spread(maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Give the share in the central quarter and the relative entropy of maps ``(B, h, w)``, resampled to ``size``.

    Both are ``(B,)``, fp64, in 0..1, and NaN for a map that is 0 throughout.
    """
    height, width = size
    fine = interpolate(maps[:, None].double(), size=size, mode="bilinear", align_corners=False)[:, 0]
    share = fine / fine.sum((1, 2), keepdim=True)
    top, left = height // 4, width // 4
    centre = share[:, top : height - top, left : width - left].sum((1, 2))
    entropy = torch.special.entr(share).sum((1, 2)) / math.log(height * width)
    return centre, entropy
