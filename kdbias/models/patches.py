"""Patches must tile what a network reads: the one rule, for networks and for those who choose the side of images."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdbias.config.errors import ArgumentError


def patch_side(network: nn.Module) -> int:
    """Give the side in pixels of the patches that must tile an image; 1 where there are none, or they overlap."""
    embedding: Any = getattr(network, "patch_embed", None)
    size, projection = getattr(embedding, "patch_size", None), getattr(embedding, "proj", None)
    if size is None or projection is None:
        return 1
    if isinstance(projection, nn.Conv2d) and projection.kernel_size != projection.stride:
        return 1
    return int(size if isinstance(size, int) else size[0])


def require_tiled(side: int, patch: int) -> None:
    """Pass images of ``side`` pixels that patches of ``patch`` pixels tile.

    Raises:
        ArgumentError: they do not; names the nearest sizes that they would.
    """
    if side % patch:
        below = side - side % patch
        sizes = " or ".join(str(near) for near in (below, below + patch) if near)
        raise ArgumentError("size", f"{side} px are not divided by the patch of {patch} px: use {sizes}")
