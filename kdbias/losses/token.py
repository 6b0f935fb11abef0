"""Token by token: every place of the student's image learns the teacher's feature of that place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.functional.unit import unit
from kdbias.losses.base import Rows, needed
from kdbias.losses.monitor import CollapseMonitor
from kdbias.losses.paired import By, Chosen, PairedTerm
from kdbias.losses.project import Projection, project
from kdbias.models.features import Features, NetworkInfo


@builder("loss")
class Token(PairedTerm):
    """1 - cos(P s, t), or the squared difference of P s and t: a mean over layers, images and tokens (and widths).

    The teacher's tokens are resampled to the student's grid. P projects only the student's tokens, with one P for each
    pair of layers. With ``two_sided`` the teacher's tokens have a trained projection of their own, as published, and
    both go to ``dim`` dimensions (the teacher's width if it is None). Making all tokens alike satisfies that loss.
    The term therefore reports the variance of the teacher's projected tokens (as unit vectors for ``cosine``) as
    ``teacher_variance``, a mean over pairs, and warns if it falls below a quarter of its first value.

    Cosine lies in 0..2; a token that is 0 gives 1, without gradient. ``mse`` has the teacher's scale.

    Source: Romero et al., ICLR 2015, arXiv:1412.6550 (hints); the cosine of tokens: the earlier study's EXP-3 and CST.
    """

    aligned: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 0.5,
        distance: Literal["cosine", "mse"] = "cosine",
        layers: Chosen = "all",
        teacher_layers: Chosen = "all",
        by: By = "depth",
        projection: Projection = "linear",
        two_sided: bool = False,
        dim: int | None = None,
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        if dim is not None and (not two_sided or type(dim) is not int or dim < 1):
            raise ArgumentError(
                "dim",
                f"is the width, 1 or more, that both sides are projected to where two_sided=true, got {dim!r}: "
                "set it to null",
            )
        if two_sided and projection == "none":
            raise ArgumentError("projection", "none leaves nothing to train on the teacher's side: set two_sided=false")
        self.distance, self.projection, self.two_sided, self.dim = distance, projection, two_sided, dim

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers and make the projections."""
        super().build(student, teacher, data)
        theirs = needed(teacher, "a teacher")
        widths = [(student.layers[i].width, theirs.layers[j].width) for i, j in self.pairs]
        self.project = nn.ModuleList(project(self.projection, s, self.dim or t) for s, t in widths)
        if self.two_sided:
            self.project_teacher = nn.ModuleList(project(self.projection, t, self.dim or t) for _, t in widths)
            self.monitors = nn.ModuleList(CollapseMonitor(f"the token loss of {name}") for name in self.names)

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the mean distance, a scalar."""
        losses, variances = {}, []
        for k, (name, ours, theirs) in enumerate(self.compared(student, teacher)):
            ours = self.project[k](ours)
            if self.two_sided:
                theirs = self.project_teacher[k](theirs)
            if self.distance == "cosine":
                ours, theirs = unit(ours), unit(theirs)
            if self.two_sided:
                variances.append(self.monitors[k](theirs))
                self.pending[str(k)] = cast(CollapseMonitor, self.monitors[k]).row(theirs)
            cosine = self.distance == "cosine"
            losses[name] = 1 - (ours * theirs).sum(-1).mean() if cosine else F.mse_loss(ours, theirs)
        if variances:
            self.report["teacher_variance"] = sum(variances[1:], start=variances[0]) / len(variances)
        return self.mean(losses)

    @property
    def remembers(self) -> bool:
        """Whether it has monitors, which remember the first step."""
        return self.two_sided

    def update(self, rows: Rows) -> None:
        """Let each monitor keep what it saw in the first step."""
        for key, row in rows.items():
            cast(CollapseMonitor, self.monitors[int(key)]).remember(row)
