"""How similar a network's Grad-CAM maps are to its teacher's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional import resample_tokens
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.probes.agreement import unlike_classes
from kdbias.probes.base import Probe, Result
from kdbias.probes.gradcam_map import activation_map
from kdbias.probes.versions import take


@builder("probe")
@dataclass(frozen=True)
class GradcamAgreementProbe(Probe):
    """Similarity of a network's and its ``teacher``'s Grad-CAM of the label's class, for each image.

    Both maps are resampled to the coarser of the two grids. Scalars: ``correlation``, the mean over images of
    Pearson's correlation over positions; ``cosine``, the mean cosine similarity, which is high for any two maps because
    no map is negative; ``correlation_other``, the correlation with the teacher's map of the previous image, which
    says what looking at the image centre alone gives; ``defined``, the share of images on which neither map is
    constant. The means are over these images. Arrays, ``(n,)``: ``correlation``, ``cosine`` (NaN if not defined),
    ``target``, ``index``. ``layer`` and ``teacher_layer`` are as in ``activation_map``.

    Source: Ojha et al., NeurIPS 2023 (2205.16004); Selvaraju et al. 2017 (1610.02391).

    Raises:
        ValueError: ``images`` or ``batch_size`` is below 1.
    """

    teacher: Teacher
    layer: int = -1
    teacher_layer: int = -1
    images: int | None = 1000
    batch_size: int = 64
    name: str = "gradcam_agreement"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: one of the two networks has no classifier, their numbers of classes differ, or a map has one
                position only.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        extractor = self.teacher.extractor.to(next(network.parameters()).device)
        parts: list[tuple[Tensor, ...]] = []
        for batch in take(batches, self.images, self.batch_size):
            own = activation_map(network, batch.image, batch.target, self.layer)
            theirs = activation_map(extractor, batch.teacher_image, batch.target, self.teacher_layer)
            parts.append((*to_one_grid(own, theirs), batch.target, batch.index))
        grid = parts[0][0].shape[1:]
        own, theirs, target, index = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        own, theirs = own.flatten(1).double(), theirs.flatten(1).double()
        correlation, cosine = correlations(own, theirs), cosine_similarity(own, theirs)
        counted = ~correlation.isnan()
        cosine = torch.where(counted, cosine, torch.nan)
        scalars = {
            "correlation": float(correlation[counted].mean()),
            "cosine": float(cosine[counted].mean()),
            "correlation_other": float(correlations(own, theirs.roll(1, 0)).nanmean()),
            "defined": float(counted.double().mean()),
        }
        arrays = {"correlation": correlation, "cosine": cosine, "target": target, "index": index}
        meta = {"n": len(target), "teacher": self.teacher.name, "grid": list(grid), "precision": "fp32"}
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return unlike_classes(network, self.teacher)


def to_one_grid(own: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Resample maps ``(B, h, w)`` and ``(B, h', w')`` to the coarser grid of the two, bilinear and antialiased.

    Raises:
        ValueError: that grid has one position only.
    """
    height, width = min(own.shape[1], theirs.shape[1]), min(own.shape[2], theirs.shape[2])
    if height * width == 1:
        raise ValueError(
            "gradcam_agreement: a map of 1x1 has no positions to compare; choose an earlier layer by "
            "probe.gradcam_agreement.layer or teacher_layer"
        )
    maps = (
        resample_tokens(each.flatten(1)[..., None], (each.shape[1], each.shape[2]), (height, width))
        for each in (own, theirs)
    )
    own, theirs = (each.reshape(-1, height, width) for each in maps)
    return own, theirs


def correlations(own: Tensor, theirs: Tensor) -> Tensor:
    """Give Pearson's correlation of the rows of two ``(n, positions)``: ``(n,)``, NaN if a row is constant."""
    a, b = (each - each.mean(1, keepdim=True) for each in (own, theirs))
    flat = (own.amax(1) == own.amin(1)) | (theirs.amax(1) == theirs.amin(1))
    return torch.where(flat, torch.nan, cosine_similarity(a, b, eps=1e-30))
