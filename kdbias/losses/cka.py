"""CKA: aligns the similarities among the student's tokens, or images, with the teacher's, up to rotation and scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.functional.cka.batched import LEAST, Kernel, batched_cka
from kdbias.functional.cka.hsic import Estimator
from kdbias.functional.unit import unit
from kdbias.losses.paired import By, Chosen, PairedTerm, require_images, require_tokens
from kdbias.models.features import Features, NetworkInfo

START = {"kind": "step", "values": [0.0, 0.5], "at": [0.025]}


@builder("loss")
class CKA(PairedTerm):
    """1 - CKA, a mean over layers (and images); ``axis`` chooses one of two losses.

    ``axis="token"`` compares within each image: its N tokens are the samples, the teacher's on the student's grid.
    ``axis="sample"`` compares across the batch: its B images are the samples. Each image is the mean of its patch
    tokens or, with ``cls_only``, its CLS token. A network without one (a CNN, a ViT with registers alone) then gives
    its mean token, which its head reads. With ``gather`` the samples are those of all processes.

    The kernel is linear or Gaussian (``rbf``, of ``scale`` times the median distance). The ``biased`` estimate lies in
    0..1. It is above 0 even for independent features, and near 1 if there are far fewer samples than dimensions. The
    ``debiased`` estimate is about 0 for independent features. It can be negative, so its loss can exceed 1.
    ``normalize`` first scales tokens to length 1, as in the publication. If CKA is undefined, as for equal tokens, the
    loss is 1 without gradient.

    Raises:
        ValueError: a batch of fewer than three images (four debiased) with ``axis="sample"``.

    Source: Kornblith et al., ICML 2019, arXiv:1905.00414; as a loss: Saha et al., BMVC 2022.
    """

    def __init__(
        self,
        weight: float | Mapping[str, Any] = START,
        axis: Literal["token", "sample"] = "token",
        kernel: Kernel = "linear",
        scale: float = 1.0,
        estimator: Estimator = "biased",
        cls_only: bool = False,
        normalize: bool = False,
        layers: Chosen = "all",
        teacher_layers: Chosen = "all",
        by: By = "depth",
        gather: bool = True,
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        if cls_only and axis == "token":
            raise ArgumentError("cls_only", "one CLS token an image leaves no tokens to compare: set axis=sample")
        self.axis, self.cls_only, self.normalize, self.gather = axis, cls_only, normalize, gather
        self.kernel: Kernel = kernel
        self.estimator: Estimator = estimator
        self.scale = scale

    @property
    def positional(self) -> bool:
        """Whether it compares places of one image."""
        return self.axis == "token"

    @property
    def least_images(self) -> int:
        """The least number of images, where these are the samples."""
        return LEAST[self.estimator] if self.axis == "sample" else 1

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: ``axis="token"`` is set and a layer of the student has too few tokens.
        """
        super().build(student, teacher, data)
        if self.axis == "token":
            require_tokens(student, teacher, self.pairs, LEAST[self.estimator], "token", "axis")

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the mean of 1 - CKA, a scalar."""
        if self.axis == "token":
            pairs = self.compared(student, teacher)
        else:
            pairs = self.images(student, teacher, self.gather, self.cls_only)
        return self.mean({name: 1 - self._cka(ours, theirs) for name, ours, theirs in pairs})

    def _cka(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.axis == "sample":
            require_images(len(ours), LEAST[self.estimator], "loss.cka.axis=sample", "set loss.cka.axis=token")
        if self.normalize:
            ours, theirs = unit(ours), unit(theirs)
        return batched_cka(ours, theirs, self.kernel, self.estimator, self.scale).mean()
