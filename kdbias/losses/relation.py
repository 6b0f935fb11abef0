"""Relations: the student learns the teacher's similarities between images, or between places of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.relation import relation_kl
from kdbias.losses.paired import By, Chosen, PairedTerm, require_images, require_tokens
from kdbias.models.features import Features, NetworkInfo

START = {"kind": "step", "values": [0.0, 0.05], "at": [0.05]}


@builder("loss")
class Relation(PairedTerm):
    """KL(softmax(C_t / tau) ‖ softmax(C_s / tau)) of rows of cosine similarities; a mean over layers, images, rows.

    ``over="batch"`` compares images, each as the mean of its patch tokens. With ``gather`` it compares the images of
    all processes, so the number of processes does not change the loss. ``over="tokens"`` compares the places within
    each image, the teacher's on the student's grid. A sample's similarity with itself is left out; ``diagonal`` keeps
    it, as published. There is no projection: similarities do not depend on the width.

    Raises:
        ValueError: a batch has fewer than three images (two with ``diagonal``), so there is nothing to compare.

    Source: Passalis and Tefas, ECCV 2018, arXiv:1803.10837; cosine, tau and layers: the earlier study's CST.
    """

    def __init__(
        self,
        weight: float | Mapping[str, Any] = START,
        temperature: float = 0.1,
        over: Literal["batch", "tokens"] = "batch",
        diagonal: bool = False,
        layers: Chosen = "last",
        teacher_layers: Chosen = "last",
        by: By = "depth",
        gather: bool = True,
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        self.temperature, self.over, self.diagonal, self.gather = temperature, over, diagonal, gather

    @property
    def positional(self) -> bool:
        """Whether it compares places of one image."""
        return self.over == "tokens"

    @property
    def least(self) -> int:
        """The least number of samples that can be compared."""
        return 2 if self.diagonal else 3

    @property
    def least_images(self) -> int:
        """The least number of images, where these are what is compared."""
        return self.least if self.over == "batch" else 1

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: ``over="tokens"`` is set and a layer of the student has too few tokens.
        """
        super().build(student, teacher, data)
        if self.over == "tokens":
            require_tokens(student, teacher, self.pairs, self.least, "tokens", "over")

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the divergence in nats, a scalar."""
        if self.over == "tokens":
            pairs = self.compared(student, teacher)
        else:
            pairs = self.images(student, teacher, self.gather)
        return self.mean({name: self._divergence(ours, theirs) for name, ours, theirs in pairs})

    def _divergence(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.over == "batch":
            require_images(len(ours), self.least, "loss.relation.over=batch", "set loss.relation.over=tokens")
        return relation_kl(ours, theirs, self.temperature, self.diagonal).mean()
