"""Which layer of the student learns from which layer of the teacher."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from kdbias.features import Layer, NetworkInfo

Chosen = Sequence[int | str] | str
By = Literal["depth", "index"]


def pair_layers(
    student: NetworkInfo, teacher: NetworkInfo, layers: Chosen = "all", teacher_layers: Chosen = "all", by: By = "depth"
) -> tuple[tuple[int, int], ...]:
    """Give pairs (student, teacher) of positions into ``Features.tokens``, in the student's order.

    ``layers`` and ``teacher_layers`` choose among the layers that the networks were made to read (``model.layers``,
    ``teacher.layers``): ``all`` of them, the ``last``, or a list of names (``blocks.3``) or of numbers, counted from 0,
    where a network is read whole.

    ``by="depth"`` gives every named layer of the student the teacher's layer of nearest depth, the deeper of two; with
    ``layers="all"`` it gives every layer of the network that has fewer the nearest of the other, so that twelve blocks
    and three stages make three pairs. ``by="index"`` pairs the first with the first, and so on.

    Raises:
        ValueError: a layer that is not read, or twice the same; by index, lists of unequal length.
    """
    ours, theirs = _positions(student, layers, "layers"), _positions(teacher, teacher_layers, "teacher_layers")
    if by == "index":
        if len(ours) != len(theirs):
            raise ValueError(
                f"by: index pairs one to one, but there are {len(ours)} layers of the student "
                f"({_listed(student, ours)}) and {len(theirs)} of the teacher ({_listed(teacher, theirs)}): name as "
                "many on both sides, or set by=depth"
            )
        return tuple(zip(ours, theirs))
    if by != "depth":
        raise ValueError(f"by: must be depth or index, got {by!r}")
    if layers == "all" and len(theirs) < len(ours):
        found = [(_nearest(student, ours, teacher.layers[j]), j) for j in theirs]
    else:
        found = [(i, _nearest(teacher, theirs, student.layers[i])) for i in ours]
    return tuple(sorted(found))


def pair_names(student: NetworkInfo, teacher: NetworkInfo, pairs: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Name each pair by the student's layer, and by the teacher's too where a layer of the student has several."""
    ours = [student.layers[i].name for i, _ in pairs]
    return tuple(
        name if ours.count(name) == 1 else f"{name}-{teacher.layers[j].name}" for name, (_, j) in zip(ours, pairs)
    )


def _positions(info: NetworkInfo, chosen: Chosen, key: str) -> list[int]:
    everything = list(range(len(info.layers)))
    if chosen == "all":
        return everything
    if chosen == "last":
        return everything[-1:]
    wanted = [chosen] if isinstance(chosen, str) else list(chosen)
    found = [_position(info, name, key) for name in wanted]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{key}: name at least one layer, and each once, got {wanted}")
    return found


def _position(info: NetworkInfo, wanted: int | str, key: str) -> int:
    names = [layer.name for layer in info.layers]
    if wanted in names:
        return names.index(str(wanted))
    number = type(wanted) is int
    if number and not _read_whole(info):
        raise ValueError(
            f"{key}: {wanted} is ambiguous where a network is not read whole: give names, of {', '.join(names)}"
        )
    if number and 0 <= int(wanted) < len(names):
        return int(wanted)
    where = "model.layers" if key == "layers" else "teacher.layers"
    raise ValueError(
        f"{key}: {wanted!r} is not among the layers read, {_listed(info, range(len(names)))}: name one of these, all "
        f"or last, or have it read by {where}"
    )


def _read_whole(info: NetworkInfo) -> bool:
    """Whether positions are the layers' own numbers: depths rise evenly to 1, names that count do so from 0 or 1."""
    count = len(info.layers)
    even = all(abs(layer.depth * count - (i + 1)) < 1e-6 for i, layer in enumerate(info.layers))
    numbers = [re.search(r"\d+$", layer.name) for layer in info.layers]
    return even and all(found is None or int(found[0]) in (i, i + 1) for i, found in enumerate(numbers))


def _nearest(info: NetworkInfo, positions: Sequence[int], layer: Layer) -> int:
    return min(positions, key=lambda i: (round(abs(info.layers[i].depth - layer.depth), 9), -info.layers[i].depth))


def _listed(info: NetworkInfo, positions: Sequence[int]) -> str:
    return ", ".join(info.layers[i].name for i in positions)
