"""What a data module provides: batches of images and the facts about their data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of images, with the student's and the teacher's view of each image.

    ``image`` and ``teacher_image`` are ``(B, C, H, W)`` float32 in [0, 1], C = 3 or 1; they are the same tensor unless
    a view policy says otherwise. ``target`` is ``(B,)`` int64, or ``(B, classes)`` float32 if images are mixed.
    ``index`` is ``(B,)`` int64, the position of each image in its split.
    """

    image: Tensor
    target: Tensor
    index: Tensor  # type: ignore[assignment]
    teacher_image: Tensor


@dataclass(frozen=True)
class DataInfo:
    """What a network or a loss may know about a data set.

    ``size`` is the side of the (square) images in pixels, ``train`` the number of training images after the
    validation split. ``mean`` and ``std`` are the statistics of each channel for images in [0, 1].
    """

    channels: int
    size: int
    classes: int
    names: tuple[str, ...]
    train: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain types (lists for tuples), as a checkpoint stores them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> DataInfo:
        """Undo ``to_dict``.

        Raises:
            ValueError: it is no such description; a checkpoint may come from a stranger.
        """
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        if found.keys() != {field.name for field in fields(cls)}:
            raise ValueError(f"data: must hold {', '.join(field.name for field in fields(cls))}, got {[*found]}")
        for key in ("channels", "size", "classes", "train"):
            if type(found[key]) is not int or found[key] < 0:
                raise ValueError(f"data.{key}: must be a whole number of at least 0, got {found[key]!r:.60}")
        for key, kind in (("names", str), ("mean", int | float), ("std", int | float)):
            if not isinstance(found[key], tuple) or not all(isinstance(one, kind) for one in found[key]):
                raise ValueError(f"data.{key}: must be a list, got {found[key]!r:.60}")
        if found["names"] and len(found["names"]) != found["classes"]:
            raise ValueError(f"data.names: there are {len(found['names'])} for {found['classes']} classes")
        return cls(**found)
