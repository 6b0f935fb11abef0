"""What terms share that compare several layers of student and teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.features import Features, NetworkInfo
from kdbias.functional.grid import resample_tokens
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.gather import gather as gathered
from kdbias.losses.pairing import By, Chosen, pair_layers, pair_names


class Compared(NamedTuple):
    """One pair of layers: its name, and what of both networks is compared.

    That is tokens ``(B, N, D)`` on the student's grid, or pictures ``(B, D)``.
    """

    name: str
    student: Tensor
    teacher: Tensor


class PairedTerm(LossTerm):
    """A term that is the mean over pairs of layers, and reports each pair under the student layer's name.

    The pairs are made by ``build``, as ``pair_layers`` describes; the teacher's tokens are resampled to the grid of
    the student's layer.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})

    def __init__(
        self,
        weight: float | Mapping[str, Any],
        layers: Chosen,
        teacher_layers: Chosen,
        by: By,
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight)
        self.layers, self.teacher_layers, self.by = layers, teacher_layers, by
        self.allow_misaligned = allow_misaligned
        self.pairs: tuple[tuple[int, int], ...] = ()
        self.names: tuple[str, ...] = ()

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: layers that are not read, or that cannot be paired.
        """
        teacher = needed(teacher, "a teacher")
        self.pairs = pair_layers(student, teacher, self.layers, self.teacher_layers, self.by)
        self.names = pair_names(student, teacher, self.pairs)

    def compared(self, student: Features, teacher: Features | None) -> Iterator[Compared]:
        """Give the tokens of each pair."""
        teacher = needed(teacher, "a teacher")
        for name, (i, j) in zip(self.names, self.pairs):
            theirs = resample_tokens(teacher.tokens[j], teacher.grids[j], student.grids[i])
            yield Compared(name, student.tokens[i], theirs)

    def pictures(
        self, student: Features, teacher: Features | None, gather: bool, cls_only: bool = False
    ) -> Iterator[Compared]:
        """Give what stands for each picture in each pair: its mean token, or its CLS token where there is one.

        With ``gather`` the pictures of all processes.
        """
        teacher = needed(teacher, "a teacher")
        for name, (i, j) in zip(self.names, self.pairs):
            both = [_picture(student, i, cls_only), _picture(teacher, j, cls_only)]
            ours, theirs = [gathered(x) for x in both] if gather else both
            yield Compared(name, ours, theirs)

    def mean(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Give the mean over the pairs, and report each."""
        self.report |= {name: loss.detach() for name, loss in losses.items()}
        return torch.stack(list(losses.values())).mean()


def _picture(features: Features, layer: int, cls_only: bool) -> Tensor:
    prefix = features.prefix[layer]
    return prefix[:, 0] if cls_only and prefix.shape[1] > 0 else features.tokens[layer].mean(1)


def require_pictures(count: int, least: int, key: str, remedy: str) -> None:
    """Raise ``ValueError`` at ``key`` where a batch has fewer than ``least`` pictures to compare."""
    if count < least:
        raise ValueError(
            f"{key} compares pictures and needs at least {least} in a batch, got {count}: raise batch_size, or {remedy}"
        )


def require_tokens(
    student: NetworkInfo, teacher: NetworkInfo | None, pairs: tuple[tuple[int, int], ...], least: int, key: str
) -> None:
    """Raise ``ValueError`` at ``key`` where a layer has fewer than ``least`` tokens to compare.

    A teacher's map of one place, brought to the student's grid, is the same token everywhere and teaches nothing.
    """
    sides = [("student", "layers", student, i) for i, _ in pairs]
    sides += [("teacher", "teacher_layers", needed(teacher, "a teacher"), j) for _, j in pairs]
    for side, argument, info, place in sides:
        layer = info.layers[place]
        count = layer.grid[0] * layer.grid[1]
        if count < least:
            raise ValueError(
                f"{key} compares the tokens of a picture with one another and needs at least {least}, but "
                f"{layer.name} of the {side} has {count}: leave it out of {argument}, or give it larger pictures"
            )
