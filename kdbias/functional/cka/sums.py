"""Sums over samples from which the debiased HSIC of layers is computed: update, shift and merge them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(eq=False)
class Sums:
    """The sums over samples from which the debiased HSIC of L by L' pairs of layers is computed.

    D is the total width of all layers of a side. If both sides are the same (``symmetric``), only the products of each
    layer with itself and the later ones are computed; the rest of ``xy`` is undefined.
    """

    widths_x: list[int]
    widths_y: list[int]
    symmetric: bool
    xy: Tensor  # (D, D'), Σ x yᵀ
    x: Tensor  # (D,), Σ x
    y: Tensor
    sq_x: Tensor  # (L,), Σ |x|²
    sq_y: Tensor
    sq_xy: Tensor  # (L, L'), Σ |x|² |y|²
    x_sq_y: Tensor  # (D, L'), Σ x |y|²
    y_sq_x: Tensor  # (D', L), Σ y |x|²

    @classmethod
    def zeros(cls, widths_x: list[int], widths_y: list[int], device: torch.device, symmetric: bool = False) -> Sums:
        """Give the sums of no samples."""
        d_x, d_y, l_x, l_y = sum(widths_x), sum(widths_y), len(widths_x), len(widths_y)
        shapes = [(d_x, d_y), (d_x,), (d_y,), (l_x,), (l_y,), (l_x, l_y), (d_x, l_y), (d_y, l_x)]
        tensors = [torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes]
        return cls(widths_x, widths_y, symmetric, *tensors)

    def tensors(self) -> list[Tensor]:
        """Give all sums, always in the same order and in their shapes, ``(D, D')`` first."""
        return [self.xy, self.x, self.y, self.sq_x, self.sq_y, self.sq_xy, self.x_sq_y, self.y_sq_x]

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples ``(B, D)`` and ``(B, D')``, with all layers of a side concatenated."""
        sq_x = torch.stack([part.square().sum(dim=1) for part in torch.split(x, self.widths_x, dim=1)], dim=1)
        sq_y = torch.stack([part.square().sum(dim=1) for part in torch.split(y, self.widths_y, dim=1)], dim=1)
        if self.symmetric:
            start = 0
            for width in self.widths_x:
                self.xy[start : start + width, start:].addmm_(x[:, start : start + width].T, y[:, start:])
                start += width
        else:
            self.xy.addmm_(x.T, y)
        self.x += x.sum(dim=0)
        self.y += y.sum(dim=0)
        self.sq_x += sq_x.sum(dim=0)
        self.sq_y += sq_y.sum(dim=0)
        self.sq_xy += sq_x.T @ sq_y
        self.x_sq_y += x.T @ sq_y
        self.y_sq_x += y.T @ sq_x

    def moved(self, n: int, by_x: Tensor, by_y: Tensor) -> Sums:
        """Give the sums of the same ``n`` samples with the vectors ``(D,)`` and ``(D',)`` added to each of them."""
        whole = replace(self, xy=self.xy.triu() + self.xy.triu(1).T) if self.symmetric else self
        return whole._moved_x(n, by_x)._turned()._moved_x(n, by_y)._turned()

    def hsic(self, n: int) -> Tensor:
        """Give the debiased HSIC of each pair, ``(L, L')``.

        With K̃ the Gram matrix without its diagonal: tr(K̃L̃) + 1ᵀK̃1 1ᵀL̃1 / ((n-1)(n-2)) - 2 1ᵀK̃L̃1 / (n-2).
        """
        trace = self._blocks(self.xy.square()) - self.sq_xy
        sums = torch.outer(
            self._lengths(self.x, self.widths_x) - self.sq_x, self._lengths(self.y, self.widths_y) - self.sq_y
        )
        through = self._blocks(self.x[:, None] * self.xy * self.y) + self.sq_xy
        through -= self._rows(self.x[:, None] * self.x_sq_y, self.widths_x)
        through -= self._rows(self.y[:, None] * self.y_sq_x, self.widths_y).T
        hsic = (trace + sums / ((n - 1) * (n - 2)) - 2 * through / (n - 2)) / (n * (n - 3))
        return hsic.triu() + hsic.triu(1).T if self.symmetric else hsic

    def gram_size(self) -> Tensor:
        """Give Σ (x·y)² over all pairs of samples, ``(L, L')``: the size to which rounding in ``hsic`` is relative.

        If ``symmetric``, for each layer with itself and the later ones.
        """
        return self._blocks(self.xy.square())

    def _moved_x(self, n: int, by: Tensor) -> Sums:
        # |x + a|² = |x|² + 2 a·x + |a|² in each layer, multiplied out in every sum.
        size = self._lengths(by, self.widths_x)
        return replace(
            self,
            xy=self.xy + torch.outer(by, self.y),
            x=self.x + n * by,
            sq_x=self.sq_x + 2 * self._rows(by * self.x, self.widths_x) + n * size,
            sq_xy=self.sq_xy
            + 2 * self._rows(by[:, None] * self.x_sq_y, self.widths_x)
            + torch.outer(size, self.sq_y),
            x_sq_y=self.x_sq_y + torch.outer(by, self.sq_y),
            y_sq_x=self.y_sq_x
            + 2 * self._rows(by[:, None] * self.xy, self.widths_x).T
            + torch.outer(self.y, size),
        )  # fmt: skip

    def _turned(self) -> Sums:
        return Sums(
            self.widths_y, self.widths_x, self.symmetric,
            self.xy.T, self.y, self.x, self.sq_y, self.sq_x, self.sq_xy.T, self.y_sq_x, self.x_sq_y,
        )  # fmt: skip

    def _blocks(self, matrix: Tensor) -> Tensor:
        """Sum ``(D, D')`` over the block of each pair of layers, to ``(L, L')``."""
        return self._rows(self._rows(matrix, self.widths_x).T, self.widths_y).T

    @staticmethod
    def _rows(matrix: Tensor, widths: list[int]) -> Tensor:
        return torch.stack([block.sum(dim=0) for block in torch.split(matrix, widths)])

    @staticmethod
    def _lengths(vector: Tensor, widths: list[int]) -> Tensor:
        return torch.stack([block.square().sum() for block in torch.split(vector, widths)])
