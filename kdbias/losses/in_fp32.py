"""The features that a loss term gets: fp32, each output cast when it is read, as most terms read one or two."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from kdbias.models.features import Features

ORDERED = tuple(field.name for field in fields(Features))
OUTPUTS = frozenset(ORDERED)


class Fp32Features(Features):
    """Features whose outputs are cast when they are read, as `in_fp32` gives them.

    A cast output is kept. What is read without gradients is not: it may be read with gradients later.
    """

    def __getattribute__(self, name: str) -> Any:
        """Give an output in fp32, and anything else as it is."""
        kept = super().__getattribute__("__dict__")
        if name not in OUTPUTS or name in kept:
            return super().__getattribute__(name)
        detach = kept["_detach"]
        value = _cast(getattr(kept["_of"], name), detach)
        if detach or torch.is_grad_enabled():
            kept[name] = value
        return value

    def __repr__(self) -> str:
        """Name the shapes, as those of plain features."""
        return repr(Features(**{name: getattr(self, name) for name in ORDERED}))


def in_fp32(features: Features, detach: bool = False) -> Features:
    """Give ``features`` with every output in fp32, without gradients if ``detach`` is true."""
    made = object.__new__(Fp32Features)
    vars(made).update(_of=features, _detach=detach)  # frozen: no attribute can be assigned
    return made


def _cast(value: Any, detach: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(one, detach) for one in value)
    if not isinstance(value, Tensor):
        return value
    value = value.detach() if detach else value
    return value.float() if value.is_floating_point() else value
