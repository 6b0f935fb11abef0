"""Cross-architecture distillation: what a convolutional student and a transformer can compare, their attention."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from kdbias.functional.grid import Grid
from kdbias.functional.precision import full_precision, without_autocast


def capd_attention(q: Tensor, k: Tensor, matched: Literal["attention", "logits"] = "attention") -> Tensor:
    """Give softmax(q kᵀ / sqrt(d)) of tokens ``(B, H, N, d)``, a mean over the heads, ``(B, N, N)``.

    The mean over heads makes networks with different numbers of heads comparable. Each row sums to 1. ``logits``
    leaves out the softmax, as the official code does. Pass patch tokens alone: a CLS token would take a share of each
    row that the student has no token for.

    Raises:
        ValueError: shapes, or an unknown ``matched``.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, equations 2 and 4.

    >>> q = torch.tensor([[[[1.0], [0.0]]]])
    >>> capd_attention(q, q).squeeze()  # e / (e + 1) and 1/2
    tensor([[0.7311, 0.2689],
            [0.5000, 0.5000]])
    """
    if q.ndim != 4 or q.shape != k.shape or q.numel() == 0:
        raise ValueError(f"expected q and k of one shape (B, H, N, d), got {tuple(q.shape)} and {tuple(k.shape)}")
    if matched not in ("attention", "logits"):
        raise ValueError(f"matched must be 'attention' or 'logits', got {matched!r}")
    with without_autocast(q):
        q, k = full_precision(q, k)
        scores = _products(q, k)
        return (scores.softmax(dim=-1) if matched == "attention" else scores).mean(dim=1)


def capd_values(v: Tensor) -> Tensor:
    """Give v vᵀ / sqrt(d) of tokens ``(B, H, N, d)``, a mean over the heads, ``(B, N, N)``.

    There is no softmax, in the paper as in the official code, so the result grows with the square of ``v``.

    Raises:
        ValueError: not ``(B, H, N, d)``.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, equation 4.

    >>> capd_values(torch.tensor([[[[2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]]]])).squeeze()
    tensor([[2., 1.],
            [1., 1.]])
    """
    if v.ndim != 4 or v.numel() == 0:
        raise ValueError(f"expected values (B, H, N, d), got {tuple(v.shape)}")
    with without_autocast(v):
        (v,) = full_precision(v)
        return _products(v, v).mean(dim=1)


def capd_mix(
    student: Tensor, teacher: Tensor, probability: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """Give the student's numbers ``(...)``, each replaced by the teacher's with ``probability``, in the same shape.

    It serves q, k and v before attention ("partially cross attention"). A number that is replaced gets no gradient,
    and none reaches the teacher. ``generator`` must be on the tensors' device.

    Raises:
        ValueError: the shapes differ, or ``probability`` outside 0..1.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, equation 3.

    >>> student, teacher = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    >>> capd_mix(student, teacher, probability=1.0), capd_mix(student, teacher, probability=0.0)
    (tensor([3., 4.]), tensor([1., 2.]))
    """
    if student.shape != teacher.shape:
        raise ValueError(
            "an element is replaced by that of the same head, token and channel, so the shapes must be equal: got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}; give the student's projector the teacher's heads and "
            "width, or set partial=false"
        )
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in 0..1, got {probability}")
    student, teacher = full_precision(student, teacher.detach())
    replaced = torch.rand(student.shape, generator=generator, device=student.device) < probability
    return torch.where(replaced, teacher, student)


def group_count(grid: Grid, group: int) -> int:
    """Give the number of groups of ``group`` × ``group`` positions that cover ``grid`` ``(h, w)``.

    Raises:
        ValueError: ``group`` < 1.

    >>> group_count((14, 14), 4), group_count((8, 8), 4)
    (16, 4)
    """
    rows, columns = _groups(grid, group)
    return rows * columns


def groupwise(tokens: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid, group: int) -> Tensor:
    """Project tokens ``(B, N, D)`` to ``(B, N, E)``, each group of neighbours by a linear map of its own.

    ``tokens`` fill ``grid`` ``(h, w)``, N = h·w row-major. Groups are squares of ``group`` × ``group`` positions,
    row-major and smaller at the right and lower edges where ``group`` does not divide the grid. ``weight`` is
    ``(G, E, D)`` and ``bias`` ``(G, E)``: those of a linear layer for each of G = ``group_count(grid, group)`` groups.

    Raises:
        ValueError: shapes, or ``group`` < 1.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, equation 5 ("group-wise linear projector").

    >>> tokens, weight = torch.ones(1, 4, 1), torch.tensor([1.0, 2.0]).view(2, 1, 1)
    >>> groupwise(tokens, weight, None, grid=(1, 4), group=2).flatten()
    tensor([1., 1., 2., 2.])
    """
    (height, width), (rows, columns) = grid, _groups(grid, group)
    _check_groupwise(tokens, weight, bias, grid, rows * columns)
    with without_autocast(tokens):
        tokens, weight = full_precision(tokens, weight)
        placed = tokens.reshape(len(tokens), height, width, tokens.shape[2])
        # One product of batches needs groups of equal size; what the zeros give is cut off again.
        whole = pad(placed, (0, 0, 0, columns * group - width, 0, rows * group - height))
        blocks = whole.reshape(len(tokens), rows, group, columns, group, tokens.shape[2]).permute(1, 3, 0, 2, 4, 5)
        projected = blocks.reshape(rows * columns, len(tokens) * group**2, tokens.shape[2]) @ weight.mT
        if bias is not None:
            projected = projected + bias[:, None]
        back = projected.reshape(*blocks.shape[:-1], weight.shape[1]).permute(2, 0, 3, 1, 4, 5)
        return back.flatten(3, 4).flatten(1, 2)[:, :height, :width].flatten(1, 2)


def _products(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.mT / sqrt(a.shape[-1])


def _groups(grid: Grid, group: int) -> tuple[int, int]:
    if group < 1:
        raise ValueError(f"group must be >= 1 position wide, got {group}")
    return ceil(grid[0] / group), ceil(grid[1] / group)


def _check_groupwise(tokens: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid, count: int) -> None:
    if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"expected tokens (B, {grid[0] * grid[1]}, D) of the grid {grid}, got {tuple(tokens.shape)}")
    if weight.ndim != 3 or weight.shape[0] != count or weight.shape[2] != tokens.shape[2]:
        raise ValueError(f"expected weight ({count}, E, {tokens.shape[2]}), got {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:2]:
        raise ValueError(f"expected bias {tuple(weight.shape[:2])} as weight is, got {tuple(bias.shape)}")
