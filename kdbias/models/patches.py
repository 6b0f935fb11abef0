"""Patches must tile what a network reads: the one rule, for networks and for those who choose the side of images."""

from __future__ import annotations

from torch import nn

from kdbias.config.errors import ArgumentError


def patch_side(network: nn.Module) -> int:
    """Give the side of a network's patches in pixels; 1 where it embeds none."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", (1,))
    return int(size[0])


def require_tiled(side: int, patch: int) -> None:
    """Pass images of ``side`` pixels that patches of ``patch`` pixels tile.

    Raises:
        ArgumentError: they do not; names the nearest sizes that they would.
    """
    if side % patch:
        below = side - side % patch
        sizes = " or ".join(str(near) for near in (below, below + patch) if near)
        raise ArgumentError("size", f"{side} px are not divided by the patch of {patch} px: use {sizes}")
