"""``data.part``: a share of the training images, so that two runs can be trained on different ones.

A teacher that is trained on ``[.2, 1]`` has seen no image of a student that is trained on ``[0, .2]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEANING = "two shares from 0 to 1, where the part begins and ends, as in [0,.2] for the first fifth"


def is_part(value: object) -> bool:
    """Whether a value is two shares, the first below the second; null, for all images, is none.

    >>> is_part([0, 0.2]), is_part([0.2, 1]), is_part([0.2, 0.2]), is_part([0.5]), is_part(0.2)
    (True, True, False, False, False)
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    numbers = all(isinstance(one, Real) and not isinstance(one, bool) for one in value)
    return numbers and 0 <= value[0] < value[1] <= 1


def bounds(count: int, part: Sequence[float] | None) -> tuple[int, int]:
    """Give the first place and the end of a part of ``count`` images; parts that meet share neither.

    >>> bounds(50_000, [0, 0.2]), bounds(50_000, [0.2, 1]), bounds(7, None)
    ((0, 10000), (10000, 50000), (0, 7))

    Raises:
        ValueError: ``part`` is none, or so small that it has no image.
    """
    if part is None:
        return 0, count
    if not is_part(part):
        raise ValueError(f"data.part={part!r} must be {MEANING}, or null for all training images")
    begin, end = (round(share * count) for share in part)
    if begin == end:
        raise ValueError(f"data.part={list(part)} has no image: the set has {count} training images")
    return begin, end


def part_rows(labels: NDArray[np.int64], part: Sequence[float] | None, seed: int) -> NDArray[np.int64]:
    """Give the positions ``(n,)``, in rising order, of a part of the images with these labels ``(count,)``.

    All parts are cut from one permutation of ``seed``, in which each class is spread evenly: the k-th of a class's n
    images, in an order of their own, stands at (k - 1/2) / n. So parts that meet share no image, parts from 0 to 1 have
    all of them, and classes of one size have numbers in a part that differ by at most one.

    Raises:
        ValueError: as ``bounds``.
    """
    import numpy as np  # late: the words of a command are checked without it

    from kdbias.data.streams import Stream, stream

    begin, end = bounds(len(labels), part)
    if part is None:
        return np.arange(len(labels))
    order = stream(Stream.PART, seed).permutation(len(labels))
    mixed = labels[order]
    counts = np.bincount(mixed)
    by_class = np.argsort(mixed, kind="stable")
    place = np.empty(len(labels), dtype=np.int64)
    place[by_class] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[mixed[by_class]]
    spread = order[np.argsort((place + 0.5) / counts[mixed], kind="stable")]
    return np.sort(spread[begin:end])
