"""What CAPD compares of a convolutional student and a transformer, on one grid, and how far apart they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError
from kdbias.functional.capd import capd_attention, capd_mix, capd_values
from kdbias.functional.grid import Grid, resample_tokens
from kdbias.functional.precision import without_autocast
from kdbias.losses.base import needed
from kdbias.models.features import Extractor, Features, NetworkInfo
from kdbias.modules.capd_projectors import AttentionProjector, GroupwiseProjector, Projector, attention_shape, stage

Matched = Literal["attention", "logits"]
TERMS = ("attention", "values", "logits", "class_token", "tokens")


class Found(NamedTuple):
    """The terms, scalars in fp32, and the sides of two of them: the student's and the teacher's, without gradient.

    ``tokens`` are ``(B, N, E)``, ``maps`` ``(B, N, N)``; None where they are not compared.
    """

    terms: dict[str, Tensor]
    tokens: tuple[Tensor, Tensor] | None
    maps: tuple[Tensor, Tensor] | None


class Comparison(nn.Module):
    """Compare a student with a vision transformer by the terms of CAPD; it owns the student's projections.

    Both are compared on the smaller grid of the two, in each direction; what lies on a larger one is resampled to it:
    the student's map, and the teacher's tokens, queries, keys and values.

    Args:
        student: what is known of the student.
        teacher: the transformer, of which the last layer that is read is compared.
        terms: those of ``TERMS`` that are computed.
        layer, projector, partial, matched, group, dropout: as in ``CAPD``.

    Raises:
        ArgumentError: one of these is not possible.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: Extractor,
        terms: Collection[str],
        *,
        layer: int | Literal["nearest"] = "nearest",
        projector: Projector = "conv",
        partial: bool = True,
        matched: Matched = "attention",
        group: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if matched not in get_args(Matched):
            raise ArgumentError("matched", f"must be one of {', '.join(get_args(Matched))}, got {matched!r}")
        self.partial, self.matched = partial, matched
        self.at = stage(student.layers, teacher.info.layers[-1].grid, layer)
        own, other = student.layers[self.at], teacher.info.layers[-1]
        self.own, self.other = own.grid, other.grid
        self.grid: Grid = (min(own.grid[0], other.grid[0]), min(own.grid[1], other.grid[1]))
        self.logits = "logits" in terms
        self.wanted = [name for name in ("attention", "values") if name in terms]
        self.attention = self.tokens = self.class_token = None
        if self.wanted:
            self.attention = AttentionProjector(own.width, self.grid, *attention_shape(teacher), projector)
        if "tokens" in terms:
            self.tokens = GroupwiseProjector(own.width, other.width, self.grid, group, dropout)
        if "class_token" in terms:
            self.class_token = nn.Linear(student.width, teacher.info.width)

    def forward(self, student: Features, teacher: Features) -> Found:
        """Compare two answers to the same images; no gradient reaches the teacher's."""
        tokens = student.tokens[self.at]
        with without_autocast(tokens):
            tokens = resample_tokens(tokens.float(), self.own, self.grid)
        qkv = self.attention(tokens) if self.attention is not None else None  # a layer of the student, in its precision
        with without_autocast(tokens):
            terms: dict[str, Tensor] = {}
            maps = projected = None
            if qkv is not None:
                found, maps = self._attention(qkv, teacher)
                terms |= found
            if self.logits:
                mine, theirs = needed(student.logits, "the student's logits"), needed(teacher.logits, "the teacher's")
                terms["logits"] = F.mse_loss(mine.float(), theirs.detach().float())
            if self.class_token is not None:
                pooled = self.class_token(student.pooled.float())
                terms["class_token"] = F.mse_loss(pooled, teacher.pooled.detach().float())
            if self.tokens is not None:
                projected = self.tokens(tokens), self._teacher_tokens(teacher)
                terms["tokens"] = F.mse_loss(*projected)
            return Found(terms, projected, maps)

    def _attention(self, qkv: Tensor, teacher: Features) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        theirs = self._teacher_qkv(teacher)
        q, k, v = (capd_mix(a, b) if self.partial else a.float() for a, b in zip(qkv, theirs, strict=True))
        terms = {}
        mine, other = capd_attention(q, k, self.matched), capd_attention(theirs[0], theirs[1], self.matched)
        if "attention" in self.wanted:
            terms["attention"] = row_distance(mine, other) if self.matched == "attention" else F.mse_loss(mine, other)
        if "values" in self.wanted:
            terms["values"] = F.mse_loss(capd_values(v), capd_values(theirs[2]))
        return terms, (mine, other)

    def _teacher_qkv(self, teacher: Features) -> Tensor:
        qkv = teacher.qkv[-1].detach().float()
        flat = resample_tokens(qkv.flatten(0, 2), self.other, self.grid)
        return flat.view(*qkv.shape[:3], *flat.shape[1:])

    def _teacher_tokens(self, teacher: Features) -> Tensor:
        """The teacher's tokens of zero mean and unit variance: the raw ones have a scale of no meaning."""
        tokens = resample_tokens(teacher.tokens[-1].detach().float(), self.other, self.grid)
        return F.layer_norm(tokens, tokens.shape[-1:])


def row_distance(one: Tensor, two: Tensor) -> Tensor:
    """Give the squared L2 distance of rows, a mean over images and rows, of maps ``(B, N, N)``.

    Rows that sum to 1 are 0..2 apart whatever N is; a mean over all entries would be N times smaller.

    >>> import torch
    >>> row_distance(torch.eye(2)[None], torch.eye(2).flip(0)[None])
    tensor(2.)
    """
    return (one - two).square().sum(dim=-1).mean()
