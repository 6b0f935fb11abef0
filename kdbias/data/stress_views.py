"""Stress sets in the views of training images: what student or teacher sees has a cue suppressed.

The sets live above this package, in ``kdbias.stress``; they are built from their nodes, as everything that a config
names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.config.errors import ArgumentError
from kdbias.config.stress_names import stress_node

Given = str | Mapping[str, Any] | None
"""A set: the name of its yaml in ``conf/stress/``, ``{name: NAME}`` with settings, or a node; None for no set."""


class ViewChange(Protocol):
    """What ``kdbias.stress.view`` builds: a change of uint8 images ``(B, C, H, W)`` by their keys ``(B,)``."""

    @property
    def aligned(self) -> bool:
        """Whether what an image shows stays where it is."""

    def __call__(self, image: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        """Give the images changed."""

    def refuses(self, size: int, channels: int) -> str:
        """Say why images of this size and number of channels are not for it; empty if they are."""

    def slow(self, size: int, channels: int) -> float | None:
        """Give the seconds an image of a change that takes them one by one; None for one that takes batches."""


def view_change(who: str, given: Given, strength: Any) -> ViewChange | None:
    """Build the change of one's view; None for no set, or for one at strength 0.

    Raises:
        ArgumentError: there is no such set, it cannot be a view, or it does not have the strength.
    """
    if type(strength) not in (int, float) or not 0 <= strength <= 1:
        raise ArgumentError(f"{who}_strength", f"must be a number in [0, 1], got {strength!r}", of="augment")
    if given is None:
        if strength != 1:
            text = f"nothing reads it: name a set (augment.{who}_stress=NAME) or leave it at 1"
            raise ArgumentError(f"{who}_strength", text, of="augment")
        return None
    try:
        node = {"_target_": "kdbias.stress.view.view", "stress": stress_node(given), "strength": strength}
        change: ViewChange = build(node, group="stress")
    except (ValueError, TypeError, ImportError) as error:
        text = re.sub(r"^(stress\.\w+(\.\w+)?|strengths): ", "", str(error))
        raise ArgumentError(f"{who}_stress", f"{_named(given)}: {text}", of="augment") from error
    return change if strength else None


def slow_views(changes: Mapping[str, ViewChange], info: DataInfo) -> list[str]:
    """Give a line for each view that is changed image by image, with its measured cost on this machine."""
    found = []
    for who, change in changes.items():
        seconds = change.slow(info.size, info.channels)
        if seconds is not None:
            whole = seconds * info.train
            found.append(
                f"augment.{who}_stress changes one image at a time, on a CPU: {1000 * seconds:.1f} ms each, "
                f"{whole:.0f} s for the {info.train} of an epoch in one process"
            )
    return found


def _named(given: Given) -> str:
    name = given.get("name", given.get("_target_")) if isinstance(given, Mapping) else given
    return str(name)
