"""Images cut into a grid of patches and shuffled."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor


def shuffle_patches(images: Tensor, order: Tensor) -> Tensor:
    """Put patch ``order[:, k]`` of each image at position k (row-major).

    ``images`` are ``(B, C, H, W)``, ``order`` is ``(B, g·g)``, a permutation for each image of the patches of a
    g×g grid. Returns the same tensor for a grid of one patch.

    Raises:
        ValueError: the grid does not divide the images' size.

    >>> image = torch.arange(4.0).view(1, 1, 2, 2)
    >>> shuffle_patches(image, torch.tensor([[3, 0, 2, 1]])).flatten()
    tensor([3., 0., 2., 1.])
    """
    grid = isqrt(order.shape[1])
    batch, channels, height, width = images.shape
    if height % grid or width % grid:
        raise ValueError(f"a {grid}×{grid} grid of patches does not divide images of {height}×{width} pixels")
    if grid == 1:
        return images
    rows, columns = height // grid, width // grid
    patches = images.reshape(batch, channels, grid, rows, grid, columns).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    moved = patches[torch.arange(batch, device=images.device)[:, None], order.to(images.device)]
    placed = moved.view(batch, grid, grid, channels, rows, columns).permute(0, 3, 1, 4, 2, 5)
    return placed.reshape(batch, channels, height, width)
