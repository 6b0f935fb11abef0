"""Where the activations of a layer are large: maps of energy over the places of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.functional.grid import pool_maps
from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.unit import unit


def energy_map(maps: Tensor, power: float = 2.0) -> Tensor:
    """Give the mean of ``|x|^power`` over the channels of ``(B, C, h, w)``, ``(B, h·w)``, scaled to length 1.

    The map of an image does not depend on the scale of its features. One whose features are all 0 has the map 0,
    without gradient.

    Raises:
        ValueError: ``power`` is below 1, where features that are 0 have no finite gradient.

    >>> energy_map(torch.tensor([[[[3.0, 0.0]], [[1.0, 0.0]]]]))
    tensor([[1., 0.]])
    """
    if not power >= 1:
        raise ValueError(f"power must be 1 or more, got {power}: below, features that are 0 have no finite gradient")
    largest = maps.detach().abs().amax(dim=(1, 2, 3), keepdim=True)
    maps = maps / largest.clamp_min(torch.finfo(maps.dtype).tiny)
    return unit(maps.abs().pow(power).mean(dim=1).flatten(1))


def attention_transfer(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    """Give the squared difference of the energy maps of student and teacher, a mean over images and places.

    ``student`` is ``(B, C, h, w)`` and ``teacher`` ``(B, C', h', w')``, features of the same images; those of the finer
    grid are averaged over the places of the coarser one first, along each axis. The result is a scalar, at most
    2 / (number of places).

    Raises:
        ValueError: not ``(B, C, h, w)`` of equally many images, or ``power`` is below 1.

    Source: Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928.

    >>> features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> attention_transfer(features, -5 * features).item()
    0.0
    """
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise ValueError(
            f"expected maps (B, C, h, w) of the same images, got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    with without_autocast(student):
        student, teacher = full_precision(student, teacher)
        grid = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
        student, teacher = pool_maps(student, grid), pool_maps(teacher, grid)
        return (energy_map(student, power) - energy_map(teacher, power)).square().mean()
