"""OFA-KD: the student's layers, each through a head of its own, and its logits learn from the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.functional.logits.ofa import ofa
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.losses.ofa_heads import make_head
from kdbias.losses.paired import Chosen, pair_layers
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class OFA(LossTerm):
    """-sum over c of [(p_t + 1_y)^gamma - 1_y] log p_s of the logits, plus that of a head on each student layer.

    The logits are the DIST head's if there is one. The heads belong to the term, not to the student. For a mixed image
    y is the class of the larger part, as in the official code. CE is added to it with weight 1. The batch normalisation
    of a head (for a convolutional student) sees the images of its own process, as the student's does;
    ``trainer.sync_batchnorm`` synchronises both.

    Args:
        weight: Weight of the term.
        gamma: Enhancement of the target class: one number, or one for each layer and one more for the logits. The
            paper's range is 1.0 (none) to 1.5.
        temperature: Softens the student's and the teacher's logits; there is no factor tau².
        logits: Weight of the logits' part.
        stages: Weight of each layer's part.
        layers: Which of the layers in ``model.layers`` have heads, as ``pair_layers`` reads them.

    Raises:
        ValueError: bad settings; layers that the student does not read; a number of gammas that does not fit.

    Source: Hao et al., NeurIPS 2023, arXiv:2310.19444.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 1.0,
        gamma: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
        logits: float = 1.0,
        stages: float = 1.0,
        layers: Chosen = "all",
    ) -> None:
        super().__init__(weight)
        self.gamma, self.temperature = gamma, temperature
        self.logits, self.stages = logits, stages
        self.layers = layers
        self.normalised = False  # build says whether heads do

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Make a head for each layer."""
        if student.classes is None:
            raise ValueError("loss.ofa needs a student with a classifier")
        # Pairing the network with itself, one to one, gives the places of the named layers.
        pairs = pair_layers(student, student, self.layers, self.layers, by="index") if self.stages else ()
        self.places = [place for place, _ in pairs]
        self.names = [student.layers[i].name for i in self.places]
        count = len(self.places) + 1
        self.gammas = [self.gamma] * count if isinstance(self.gamma, int | float) else list(self.gamma)
        if len(self.gammas) != count:
            raise ValueError(
                f"loss.ofa.gamma has {len(self.gammas)} values, and {count} are needed: one number, or one for each of "
                f"the layers {', '.join(self.names)} and one for the logits"
            )
        read = replace(student, layers=tuple(student.layers[i] for i in self.places))
        width = needed(teacher, "a teacher").width
        self.heads = nn.ModuleList(make_head(read, i, width, student.classes) for i in range(len(self.places)))
        self.normalised = any(isinstance(m, nn.BatchNorm2d) for m in self.heads.modules())

    @property
    def dist(self) -> bool:
        """Whether a DIST head is trained: only the part of the logits reads it."""
        return self.logits > 0

    @property
    def least_images(self) -> int:
        """The least number of images in each process: two where heads normalise over them."""
        return 2 if self.normalised else 1

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the loss in nats, a scalar: the mean over images, summed over layers."""
        if self.normalised and len(batch.target) < 2:
            raise ValueError("loss.ofa normalises over the images of a batch and got 1: raise batch_size")
        target = teacher_logits(teacher)
        loss = student.pooled.new_zeros(())
        gammas = self.gammas[: len(self.heads)]  # the last is that of the logits, if they take part
        for head, place, name, gamma in zip(self.heads, self.places, self.names, gammas, strict=True):
            answer = head(student.tokens[place], student.prefix[place], student.grids[place])
            part = ofa(answer, target, batch.target, gamma, self.temperature)
            self.report[name] = part.detach()
            loss = loss + self.stages * part
        if not self.logits:
            return loss
        part = ofa(student_logits(student), target, batch.target, self.gammas[-1], self.temperature)
        self.report["logits"] = part.detach()
        return loss + self.logits * part
