"""Debiased linear CKA of all samples in one pass, between all layers of two networks, without holding the samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdbias.functional.cka import check_structure
from kdbias.functional.precision import without_autocast


class StreamingCKA:
    """Debiased linear CKA from sums over batches: exactly what all n samples at once give, in fp64.

    ``update`` takes the layers of one network (or of two) for one batch; ``compute`` gives the ``(L, L')`` matrix.
    What is kept is (Σ D) x (Σ D') numbers, whatever n is. All samples go through one object: it adds nothing up
    across processes.

    Source: the sums are those of Song et al., JMLR 2012, eq. 5, written out for K = X Xᵀ; debiased CKA: Nguyen et
    al., ICLR 2021, arXiv:2010.15327.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [3.0, 1.0], [4.0, 2.0]])
    >>> cka = StreamingCKA()
    >>> cka.update([x[:2], x[:2, :1]])
    >>> cka.update([x[2:], x[2:, :1]])
    >>> cka.n, cka.compute()
    (5, tensor([[1.0000, 0.8009],
            [0.8009, 1.0000]], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.n = 0
        self._widths: list[list[int]] = []
        self._shift: list[Tensor] = []
        self._cross: _Sums | None = None
        self._own: list[list[_Sums]] = []

    def update(self, xs: Sequence[Tensor], ys: Sequence[Tensor] | None = None) -> None:
        """Add one batch: ``(B, D_i)`` for each layer of one network, ``(B, D_j)`` for each of another (none: self).

        Raises:
            ValueError: no layers, a layer that is not ``(B, D)``, batch sizes that differ, or other layers than before.
        """
        sides = [xs] if ys is None else [xs, ys]
        check_layers(sides)
        widths = [[x.shape[1] for x in side] for side in sides]
        with torch.no_grad(), without_autocast(xs[0]):
            batch = [torch.cat([x.detach() for x in side], dim=1).double() for side in sides]
            cross = self._start(batch, widths) if self._cross is None else self._cross
            if widths != self._widths:
                raise ValueError(f"expected layers of the widths {self._widths} as in the first batch, got {widths}")
            # HSIC does not change under a shift; without the mean its sums lose no digits.
            batch = [x - shift for x, shift in zip(batch, self._shift)]
            cross.add(batch[0], batch[-1])
            for x, side_widths, own in zip(batch, widths, self._own):
                for part, sums in zip(torch.split(x, side_widths, dim=1), own):
                    sums.add(part, part)
        self.n += len(xs[0])

    def compute(self) -> Tensor:
        """Give CKA of each layer with each, ``(L, L')`` fp64 (``(L, L)`` where one network was given).

        Raises:
            ValueError: fewer than 4 samples, or a layer without structure, for which CKA is 0/0.
        """
        if self._cross is None or self.n < 4:
            raise ValueError(f"debiased CKA needs at least 4 samples, got {self.n}")
        cross = self._cross.hsic(self.n)
        if not self._own:
            own = self._own_norms(cross.diagonal(), self._cross.gram_size().diagonal(), "x")
            return cross / (own[:, None] * own)
        norms = [
            self._own_norms(
                torch.stack([sums.hsic(self.n)[0, 0] for sums in own]),
                torch.stack([sums.gram_size()[0, 0] for sums in own]),
                side,
            )
            for side, own in zip("xy", self._own)
        ]
        return cross / (norms[0][:, None] * norms[1])

    def _start(self, batch: list[Tensor], widths: list[list[int]]) -> _Sums:
        self._widths = widths
        self._shift = [x.mean(dim=0) for x in batch]
        device, same = batch[0].device, len(widths) == 1
        self._cross = _Sums(widths[0], widths[-1], device, symmetric=same)
        self._own = [] if same else [[_Sums([w], [w], device, symmetric=True) for w in side] for side in widths]
        return self._cross

    def _own_norms(self, own: Tensor, size: Tensor, side: str) -> Tensor:
        for i, (value, floor) in enumerate(zip(own, size)):
            check_structure(value * (self.n * (self.n - 3)), floor, power=1, name=f"{side}[{i}]")
        return own.sqrt()


class _Sums:
    """The sums over samples that the debiased HSIC of L by L' pairs of layers is made of.

    D is the width of all layers of a side together. Where both sides are the same, ``symmetric``, only the products of
    each layer with itself and the later ones are made.
    """

    def __init__(self, widths_x: list[int], widths_y: list[int], device: torch.device, symmetric: bool = False) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.widths_x, self.widths_y, self.symmetric = widths_x, widths_y, symmetric
        d_x, d_y, l_x, l_y = sum(widths_x), sum(widths_y), len(widths_x), len(widths_y)
        self.xy = zeros(d_x, d_y)  # Σ x yᵀ
        self.x, self.y = zeros(d_x), zeros(d_y)  # Σ x, Σ y
        self.sq_x, self.sq_y = zeros(l_x), zeros(l_y)  # Σ |x|², Σ |y|²
        self.sq_xy = zeros(l_x, l_y)  # Σ |x|² |y|²
        self.x_sq_y, self.y_sq_x = zeros(d_x, l_y), zeros(d_y, l_x)  # Σ x |y|², Σ y |x|²

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples ``(B, D)`` and ``(B, D')``, all layers of a side beside each other."""
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
        """Give Σ (x·y)² over all pairs of samples, ``(L, L')``: what rounding in ``hsic`` is relative to.

        Where ``symmetric``, for each layer with itself and the later ones.
        """
        return self._blocks(self.xy.square())

    def _blocks(self, matrix: Tensor) -> Tensor:
        """Sum ``(D, D')`` over the block of each pair of layers, to ``(L, L')``."""
        return self._rows(self._rows(matrix, self.widths_x).T, self.widths_y).T

    @staticmethod
    def _rows(matrix: Tensor, widths: list[int]) -> Tensor:
        return torch.stack([block.sum(dim=0) for block in torch.split(matrix, widths)])

    @staticmethod
    def _lengths(vector: Tensor, widths: list[int]) -> Tensor:
        return torch.stack([block.square().sum() for block in torch.split(vector, widths)])


def check_layers(sides: Sequence[Sequence[Tensor]]) -> None:
    """Raise ``ValueError`` unless every layer of every side is ``(B, D)`` with the same B of at least 1."""
    shapes = [[tuple(x.shape) for x in side] for side in sides]
    sizes = {shape[0] if len(shape) == 2 else None for side in shapes for shape in side}
    if not all(shapes) or len(sizes) != 1 or sizes & {None, 0}:
        raise ValueError(f"expected (B, D) for each layer, all of one batch with B >= 1, got {shapes}")
