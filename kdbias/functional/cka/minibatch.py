"""Debiased CKA as the average over minibatches: for kernels and widths whose sums over all samples are too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from kdbias.functional.cka.batched import Kernel
from kdbias.functional.cka.exact import rbf_gram
from kdbias.functional.cka.hsic import centre_gram
from kdbias.functional.cka.stream import check_layers
from kdbias.functional.cka.structure import NoStructure, check_layer_structure, name_of
from kdbias.functional.precision import full_precision, without_autocast


class MinibatchCKA:
    """CKA from debiased HSIC averaged over minibatches of ``batch`` samples, between all layers of two networks.

    HSIC is debiased within each minibatch, so its average estimates that of the population for any ``batch``. The
    estimate differs from that over all samples at once, so report ``batch`` with it. ``update`` takes batches of any
    size; the same samples in the same order give the same minibatches. At least 4 remaining samples are a minibatch
    weighted by its size; fewer are left out. ``n`` counts the samples that are used.

    Several objects may share the samples, each with its own minibatches and remaining samples. ``merge`` adds those of
    another object, ``reduced`` those of all processes, as one object would with the same minibatches.

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
        self._widths: list[list[int]] = []
        self._sums: _Sums | None = None
        self._held: list[list[Tensor]] = []
        self._undefined: tuple[int, tuple[int, ...], str] | None = None

    @property
    def n(self) -> int:
        """Number of samples that ``compute`` uses."""
        rest = self._rest()
        return self._done + (rest if rest >= 4 else 0)

    def update(self, xs: Sequence[Tensor], ys: Sequence[Tensor] | None = None) -> None:
        """Add samples: ``(B, D_i)`` for each layer of one network, ``(B, D_j)`` for each of another (none: self).

        Raises:
            ValueError: no layers, a layer that is not ``(B, D)``, batch sizes that differ, or other layers than before.
        """
        sides = [[x.detach() for x in side] for side in ([xs] if ys is None else [xs, ys])]
        check_layers(sides)
        widths = [[x.shape[1] for x in side] for side in sides]
        if self._widths and widths != self._widths:
            raise ValueError(f"expected layers of the widths {self._widths} as in the first batch, got {widths}")
        self._widths = widths
        if self._rest():
            sides = [
                [torch.cat(pair) for pair in zip(*two, strict=True)] for two in zip(self._held, sides, strict=True)
            ]
        while len(sides[0][0]) >= self.batch:
            self._add([[x[: self.batch] for x in side] for side in sides])
            sides = [[x[self.batch :] for x in side] for side in sides]
        self._held = sides

    def merge(self, other: MinibatchCKA) -> None:
        """Add the minibatches of ``other``, which is not changed; its remaining samples are a minibatch or left out.

        Raises:
            ValueError: the two differ in kernel, batch or scale, or have seen layers of other widths.
        """
        _check_alike([self, other], ["here", "there"])
        part = other._closed()
        self._done += part._done
        self._widths = self._widths or part._widths
        self._undefined = self._undefined or part._undefined
        if part._sums is not None:
            self._sums = part._sums if self._sums is None else self._sums.plus(part._sums.to(self._sums.cross.device))

    def reduced(self, group: dist.ProcessGroup | None = None) -> MinibatchCKA:
        """Give each process the accumulator of the minibatches of all processes; a single process gets this object.

        Every process must call it, also one without samples; their numbers of samples may differ. Up to 3 remaining
        samples are left out in each process. Repeated samples count repeatedly, such as those by which
        ``DistributedSampler`` pads. This object is not changed: continue with it, not with the sum, and reduce again.
        Sums are sent on the CPU. A minibatch without structure in one process is an error of ``compute`` in all.

        Raises:
            ValueError: kernel, batch, scale or layers differ between processes; in each of them.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
            return self
        part = self._closed()
        device = torch.device("cpu") if part._sums is None else part._sums.cross.device
        parts = cast(list[MinibatchCKA], [None] * dist.get_world_size(group))
        dist.all_gather_object(parts, part._moved(torch.device("cpu")), group=group)
        _check_alike(parts, [f"process {rank}" for rank in range(len(parts))])
        whole = MinibatchCKA(self.kernel, self.batch, self.scale)
        for each in parts:  # in the same order in all processes, so that the results are identical
            whole.merge(each)
        return whole._moved(device)

    def compute(self) -> Tensor:
        """Give CKA of each layer with each, ``(L, L')`` fp64 (``(L, L)`` where one network was given).

        Raises:
            ValueError: fewer than 4 samples.
            NoStructure: layers that answer all samples alike, for which CKA is 0/0; under ``rbf``, more than half of
                the pairs of samples of a minibatch coincide.
        """
        whole = self._closed()
        if whole._undefined is not None:
            raise NoStructure(*whole._undefined)
        sums = whole._sums
        if sums is None:
            raise ValueError(f"debiased CKA needs a minibatch of at least 4 samples, got {self._rest()}")
        for side, (own, size) in enumerate(zip(sums.own, sums.size, strict=True)):
            # fp32 is the precision of the Gram matrices; both are sums of squares, as in ``cka_of_grams``.
            check_layer_structure(own.float(), size.float(), power=2, side=side)
        return sums.cross / (sums.own[0].sqrt()[:, None] * sums.own[-1].sqrt())

    def _rest(self) -> int:
        return len(self._held[0][0]) if self._held else 0

    def _closed(self) -> MinibatchCKA:
        """Give the accumulator of the used samples, with the remaining ones as a minibatch."""
        closed = MinibatchCKA(self.kernel, self.batch, self.scale)
        closed._done, closed._widths, closed._sums = self._done, self._widths, self._sums
        closed._undefined = self._undefined
        if self._rest() >= 4:
            closed._add(self._held)
        return closed

    def _moved(self, device: torch.device) -> MinibatchCKA:
        """Give the same without remaining samples, on ``device``."""
        moved = self._closed()
        moved._sums = None if moved._sums is None else moved._sums.to(device)
        return moved

    def _add(self, sides: list[list[Tensor]]) -> None:
        """Add one minibatch.

        If it has no structure, the reason is kept for ``compute``. An error here would leave other processes waiting
        in ``reduced``.
        """
        self._done += len(sides[0][0])
        if self._undefined is not None:
            return
        try:
            found = self._minibatch(sides)
        except NoStructure as error:
            self._undefined = (error.side, error.layers, error.why)
        else:
            self._sums = found if self._sums is None else self._sums.plus(found)

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

    def to(self, device: torch.device) -> _Sums:
        return _Sums(self.cross.to(device), [x.to(device) for x in self.own], [x.to(device) for x in self.size])


def _check_alike(parts: Sequence[MinibatchCKA], names: Sequence[str]) -> None:
    """Raise ``ValueError`` unless all have the same settings and, if they have seen samples, the same layers."""
    settings = {(part.kernel, part.batch, part.scale) for part in parts}
    seen = [part._widths for part in parts if part._widths]
    if len(settings) > 1 or any(widths != seen[0] for widths in seen):
        found = "; ".join(
            f"{part.kernel}, {part.batch}, {part.scale} and {part._widths} ({name})"
            for part, name in zip(parts, names, strict=True)
        )
        raise ValueError(f"expected the same kernel, batch, scale and widths of layers in all parts, got {found}")
