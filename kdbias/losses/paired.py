"""Base of terms that compare several layers: it pairs layers of student and teacher, and takes the mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.config.errors import ArgumentError
from kdbias.functional.grid import resample_tokens
from kdbias.losses.base import LossTerm, needed
from kdbias.losses.gather import gather as gathered
from kdbias.models.features import Features, NetworkInfo

Chosen = Sequence[int | float | str] | str
By = Literal["depth", "index"]


def pair_layers(
    student: NetworkInfo, teacher: NetworkInfo, layers: Chosen = "all", teacher_layers: Chosen = "all", by: By = "depth"
) -> tuple[tuple[int, int], ...]:
    """Give pairs (student, teacher) of positions into ``Features.tokens``, in the student's order.

    ``layers`` and ``teacher_layers`` choose among the layers that the networks were made to read (``model.layers``,
    ``teacher.layers``): ``all`` of them, the ``last``, or a list of names (``blocks.3``). If all layers of a network
    are read, the list may hold numbers, counted from 0. A list of depths (floats, above 0 to 1, the end of the network)
    takes the layers nearest to them, or all if there are no more layers than depths.

    ``by="depth"`` pairs every named layer of the student with the teacher's layer of nearest depth; of two equally near
    it takes the deeper. With ``layers="all"`` it pairs every layer of the network with fewer layers with the nearest
    layer of the other: twelve blocks and three stages make three pairs. ``by="index"`` pairs the first with the first,
    and so on.

    Raises:
        ValueError: a layer is not read or is listed twice; by index, the lists have unequal length.
    """
    ours, theirs = _positions(student, layers, "layers"), _positions(teacher, teacher_layers, "teacher_layers")
    if by == "index":
        if len(ours) != len(theirs):
            raise ArgumentError(
                "by",
                f"index pairs one to one, but there are {len(ours)} layers of the student "
                f"({_listed(student, ours)}) and {len(theirs)} of the teacher ({_listed(teacher, theirs)}): name as "
                "many on both sides, or set by=depth",
            )
        return tuple(zip(ours, theirs, strict=True))
    if by != "depth":
        raise ArgumentError("by", f"must be depth or index, got {by!r}")
    if layers == "all" and len(theirs) < len(ours):
        found = [(_nearest(student, ours, teacher.layers[j].depth), j) for j in theirs]
    else:
        found = [(i, _nearest(teacher, theirs, student.layers[i].depth)) for i in ours]
    return tuple(sorted(found))


def pair_names(student: NetworkInfo, teacher: NetworkInfo, pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Name each pair by the student's layer, and by the teacher's too if a student layer is in several pairs."""
    ours = [student.layers[i].name for i, _ in pairs]
    return tuple(
        name if ours.count(name) == 1 else f"{name}-{teacher.layers[j].name}"
        for name, (_, j) in zip(ours, pairs, strict=True)
    )


def _positions(info: NetworkInfo, chosen: Chosen, key: str) -> list[int]:
    everything = list(range(len(info.layers)))
    if chosen == "all":
        return everything
    if chosen == "last":
        return everything[-1:]
    wanted = [chosen] if isinstance(chosen, str) else list(chosen)
    if any(type(depth) is float for depth in wanted):
        return _at_depths(info, wanted, key)
    found = [_position(info, name, key) for name in wanted]
    if not found or len(set(found)) < len(found):
        raise ArgumentError(key, f"name at least one layer, and each once, got {wanted}")
    return found


def _at_depths(info: NetworkInfo, depths: Sequence[int | float | str], key: str) -> list[int]:
    """The positions of the layers nearest to ``depths``; all if there are no more layers than depths."""
    numbers = [float(depth) for depth in depths if isinstance(depth, int | float) and 0 < depth <= 1]
    if len(numbers) != len(depths):
        raise ArgumentError(key, f"depths must be numbers above 0, up to 1, got {list(depths)}")
    everything = list(range(len(info.layers)))
    if len(everything) <= len(numbers):
        return everything
    return sorted({_nearest(info, everything, depth) for depth in numbers})


def _position(info: NetworkInfo, wanted: int | float | str, key: str) -> int:
    names = [layer.name for layer in info.layers]
    if wanted in names:
        return names.index(str(wanted))
    number = type(wanted) is int
    if number and not _read_whole(info):
        raise ArgumentError(
            key, f"{wanted} is ambiguous where a network is not read whole: give names, of {', '.join(names)}"
        )
    if number and 0 <= int(wanted) < len(names):
        return int(wanted)
    where = "model.layers" if key == "layers" else "teacher.layers"
    raise ArgumentError(
        key,
        f"{wanted!r} is not among the layers read, {_listed(info, range(len(names)))}: name one of these, all "
        f"or last, or have it read by {where}",
    )


def _read_whole(info: NetworkInfo) -> bool:
    """Whether positions are the layers' own numbers: depths rise evenly to 1, names that count do so from 0 or 1."""
    count = len(info.layers)
    even = all(abs(layer.depth * count - (i + 1)) < 1e-6 for i, layer in enumerate(info.layers))
    numbers = [re.search(r"\d+$", layer.name) for layer in info.layers]
    return even and all(found is None or int(found[0]) in (i, i + 1) for i, found in enumerate(numbers))


def _nearest(info: NetworkInfo, positions: Sequence[int], depth: float) -> int:
    return min(positions, key=lambda i: (round(abs(info.layers[i].depth - depth), 9), -info.layers[i].depth))


def _listed(info: NetworkInfo, positions: Sequence[int]) -> str:
    return ", ".join(info.layers[i].name for i in positions)


class Compared(NamedTuple):
    """One pair of layers: its name, and the features of both networks that are compared.

    They are tokens ``(B, N, D)`` on the student's grid, or images ``(B, D)``.
    """

    name: str
    student: Tensor
    teacher: Tensor


class PairedTerm(LossTerm):
    """A term that is the mean over pairs of layers, and reports each pair under the student layer's name.

    ``build`` makes the pairs, as ``pair_layers`` describes. The teacher's tokens are resampled to the grid of the
    student's layer.
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
        self.has_cls = False, False  # student, teacher

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers.

        Raises:
            ValueError: layers are not read, or cannot be paired.
        """
        teacher = needed(teacher, "a teacher")
        self.pairs = pair_layers(student, teacher, self.layers, self.teacher_layers, self.by)
        self.names = pair_names(student, teacher, self.pairs)
        self.has_cls = student.has_cls, teacher.has_cls

    def compared(self, student: Features, teacher: Features | None) -> Iterator[Compared]:
        """Give the tokens of each pair."""
        teacher = needed(teacher, "a teacher")
        for name, (i, j) in zip(self.names, self.pairs, strict=True):
            theirs = resample_tokens(teacher.tokens[j], teacher.grids[j], student.grids[i])
            yield Compared(name, student.tokens[i], theirs)

    def images(
        self, student: Features, teacher: Features | None, gather: bool, cls_only: bool = False
    ) -> Iterator[Compared]:
        """Give a vector for each image in each pair: its mean token, or its CLS token if there is one.

        With ``gather`` the images are those of all processes.
        """
        teacher = needed(teacher, "a teacher")
        for name, (i, j) in zip(self.names, self.pairs, strict=True):
            ours, theirs = (cls_only and has_cls for has_cls in self.has_cls)
            both = [_image(student, i, ours), _image(teacher, j, theirs)]
            yield Compared(name, *([gathered(x) for x in both] if gather else both))

    def mean(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Give the mean over the pairs of scalars by name, and report each."""
        self.report |= {name: loss.detach() for name, loss in losses.items()}
        return torch.stack(list(losses.values())).mean()


def _image(features: Features, layer: int, cls: bool) -> Tensor:
    return features.prefix[layer][:, 0] if cls else features.tokens[layer].mean(1)


def require_images(count: int, least: int, key: str, remedy: str) -> None:
    """Raise ``ValueError`` at ``key`` if a batch has fewer than ``least`` images to compare."""
    if count < least:
        raise ValueError(
            f"{key} compares images and needs at least {least} in a batch, got {count}: raise batch_size, or {remedy}"
        )


def require_tokens(
    student: NetworkInfo,
    teacher: NetworkInfo | None,
    pairs: tuple[tuple[int, int], ...],
    least: int,
    what: str,
    argument: str | None = None,
) -> None:
    """Raise ``ValueError`` if a layer has fewer than ``least`` tokens to compare.

    ``what`` compares them: a term, or the value of its ``argument``, which the error then names.

    A teacher's map of one place, resampled to the student's grid, is the same token everywhere and teaches nothing.
    """
    sides = [("student", "layers", student, i) for i, _ in pairs]
    sides += [("teacher", "teacher_layers", needed(teacher, "a teacher"), j) for _, j in pairs]
    for side, chosen, info, place in sides:
        layer = info.layers[place]
        count = layer.grid[0] * layer.grid[1]
        if count < least:
            text = (
                f"{what} compares the tokens of an image with one another and needs at least {least}, but "
                f"{layer.name} of the {side} has {count}: leave it out of {chosen}, or give it larger images"
            )
            raise ValueError(text) if argument is None else ArgumentError(argument, text)


def layers_read(terms: Iterable[LossTerm], count: int) -> tuple[int, ...]:
    """Give the positions of the teacher's layers, of ``count``, whose tokens any of these built terms reads.

    A term that pairs no layers may read all of them.
    """
    found: set[int] = set()
    for term in terms:
        if isinstance(term, PairedTerm):
            found |= {j for _, j in term.pairs}
        elif "tokens" in term.needs:
            found |= set(range(count))
    return tuple(sorted(found))
