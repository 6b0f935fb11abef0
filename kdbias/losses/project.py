"""From the width of one network's tokens to that of the other's."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from kdbias.config.errors import ArgumentError

Projection = Literal["linear", "mlp", "none"]
HIDDEN = 512


def project(kind: Projection, width: int, to: int) -> nn.Module:
    """Make the map of tokens ``(..., width)`` to ``(..., to)``.

    ``linear`` is one Linear; ``mlp`` is Linear-LayerNorm-GELU (512 wide)-Linear-LayerNorm, as published; ``none`` hands
    them through.

    Raises:
        ValueError: an unknown kind, or ``none`` between unlike widths.
    """
    if kind == "linear":
        return nn.Linear(width, to)
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(width, HIDDEN), nn.LayerNorm(HIDDEN), nn.GELU(), nn.Linear(HIDDEN, to), nn.LayerNorm(to)
        )
    if kind != "none":
        raise ArgumentError("projection", f"must be one of {', '.join(get_args(Projection))}, got {kind!r}")
    if width != to:
        raise ArgumentError("projection", f"none cannot compare tokens {width} wide with tokens {to} wide: set linear")
    return nn.Identity()
