"""Debiased CKA as the average over minibatches: for kernels and widths whose sums over all samples are too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from kdbias.functional.cka import rbf_gram
from kdbias.functional.cka_batched import Kernel
from kdbias.functional.cka_stream import check_layers
from kdbias.functional.cka_structure import NoStructure, check_layer_structure, name_of
from kdbias.functional.hsic import centre_gram
from kdbias.functional.precision import full_precision, without_autocast


class MinibatchCKA:
    """CKA from debiased HSIC averaged over minibatches of ``batch`` samples, between all layers of two networks.

    HSIC is debiased within each minibatch, so its average estimates that of the population whatever ``batch`` is. The
    estimate is not that of all samples at once: say the size beside the number. ``update`` takes batches of any size,
    the same samples in the same order give the same minibatches. Rest samples are a minibatch of their own, weighted by
    its size, if they are at least 4, else they are left out; ``n`` counts those that are in.

    ``kernel`` is ``linear`` or ``rbf``, whose width is ``scale`` times the median distance within each minibatch. Gram
    matrices are computed in fp32 (fp64 for fp64), their products in fp64.

    Source: Nguyen et al., ICLR 2021, arXiv:2010.15327, eq. 3.
    """

    def __init__(self, kernel: Kernel = "linear", batch: int = 256, scale: float = 1.0) -> None:
        if kernel not in get_args(Kernel):
            raise ValueError(f"kernel must be one of {', '.join(get_args(Kernel))}, got {kernel!r}")
        if batch < 4 or not scale > 0:
            raise ValueError(f"minibatch CKA needs batch >= 4 and scale > 0, got {batch} and {scale}")
        self.kernel: Kernel = kernel
        self.batch, self.scale = batch, scale
        self._done = 0
        self._sums: _Sums | None = None
        self._held: list[list[Tensor]] = []

    @property
    def n(self) -> int:
        """Samples that ``compute`` uses."""
        rest = self._rest()
        return self._done + (rest if rest >= 4 else 0)

    def update(self, xs: Sequence[Tensor], ys: Sequence[Tensor] | None = None) -> None:
        """Add samples: ``(B, D_i)`` for each layer of one network, ``(B, D_j)`` for each of another (none: self).

        Raises:
            ValueError: no layers, a layer that is not ``(B, D)``, batch sizes that differ, or more or fewer layers than
                before.
            NoStructure: under ``rbf``, more than half of the pairs of samples of a minibatch coincide.
        """
        sides = [[x.detach() for x in side] for side in ([xs] if ys is None else [xs, ys])]
        check_layers(sides)
        if self._rest():
            sides = [
                [torch.cat(pair) for pair in zip(*two, strict=True)] for two in zip(self._held, sides, strict=True)
            ]
        while len(sides[0][0]) >= self.batch:
            found = self._minibatch([[x[: self.batch] for x in side] for side in sides])
            self._sums = found if self._sums is None else self._sums.plus(found)
            self._done += self.batch
            sides = [[x[self.batch :] for x in side] for side in sides]
        self._held = sides

    def compute(self) -> Tensor:
        """Give CKA of each layer with each, ``(L, L')`` fp64 (``(L, L)`` where one network was given).

        Raises:
            ValueError: fewer than 4 samples.
            NoStructure: layers that answer all samples alike, for which CKA is 0/0.
        """
        sums = self._sums
        if self._rest() >= 4:
            found = self._minibatch(self._held)
            sums = found if sums is None else sums.plus(found)
        if sums is None:
            raise ValueError(f"debiased CKA needs at least 4 samples, got {self._rest()}")
        for side, (own, size) in enumerate(zip(sums.own, sums.size)):
            # fp32 is the precision of the Gram matrices; both are sums of squares, as in ``cka_of_grams``.
            check_layer_structure(own.float(), size.float(), power=2, side=side)
        return sums.cross / (sums.own[0].sqrt()[:, None] * sums.own[-1].sqrt())

    def _rest(self) -> int:
        return len(self._held[0][0]) if self._held else 0

    def _minibatch(self, sides: list[list[Tensor]]) -> _Sums:
        n = len(sides[0][0])
        with torch.no_grad(), without_autocast(sides[0][0]):
            grams = [
                torch.stack([self._gram(x, place, i).double() for i, x in enumerate(side)])
                for place, side in enumerate(sides)
            ]
            centred = [centre_gram(gram, "debiased").flatten(1) for gram in grams]
            # n times HSIC: the average over minibatches is weighted by their sizes.
            cross = centred[0] @ centred[-1].T / (n - 3)
            own = [gram.square().sum(1) / (n - 3) for gram in centred]
            size = [gram.square().sum((1, 2)) / (n - 3) for gram in grams]
        return _Sums(cross, own, size)

    def _gram(self, x: Tensor, side: int, layer: int) -> Tensor:
        (x,) = full_precision(x)
        x = x - x.mean(dim=0)
        if self.kernel == "linear":
            return x @ x.T
        try:
            return rbf_gram(x, self.scale, name_of(side, layer))
        except ValueError as error:
            raise NoStructure(side, [layer], str(error)) from error


class _Sums(NamedTuple):
    """Sums over minibatches: HSIC of each pair of layers, of each layer with itself, and squares of its Gram matrix."""

    cross: Tensor  # (L, L')
    own: list[Tensor]  # (L,), and of another network (L',)
    size: list[Tensor]

    def plus(self, other: _Sums) -> _Sums:
        own, size = (
            [a + b for a, b in zip(*two, strict=True)] for two in ((self.own, other.own), (self.size, other.size))
        )
        return _Sums(self.cross + other.cross, own, size)
