"""Debiased linear CKA of all samples in one pass, between all layers of two networks, without holding the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor

from kdbias.functional.cka.structure import check_layer_structure
from kdbias.functional.cka.sums import Sums
from kdbias.functional.precision import without_autocast


class StreamingCKA:
    """Debiased linear CKA from sums over batches: exactly what all n samples at once give, in fp64.

    ``update`` takes the layers of one network (or of two) for one batch; ``compute`` gives the ``(L, L')`` matrix.
    It holds (Σ D) x (Σ D') numbers for any n. Several objects may share the samples: ``merge`` adds those of another
    object, ``reduced`` those of all processes, equally exactly.

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
        self._cross: Sums | None = None
        self._own: list[list[Sums]] = []

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
            # HSIC does not change under a shift; subtracting the mean avoids cancellation in its sums.
            batch = [x - shift for x, shift in zip(batch, self._shift, strict=True)]
            cross.add(batch[0], batch[-1])
            # one network has no sums of its own beside those of all pairs
            for x, side_widths, own in zip(batch, widths, self._own, strict=False):
                for part, sums in zip(torch.split(x, side_widths, dim=1), own, strict=True):
                    sums.add(part, part)
        self.n += len(xs[0])

    def merge(self, other: StreamingCKA) -> None:
        """Add the samples of ``other``, which is not changed; a sample that both have seen counts twice.

        Raises:
            ValueError: the two have seen layers of other widths.
        """
        if not other.n:
            return
        device = (self if self.n else other)._shift[0].device
        mine = self if self.n else StreamingCKA._empty(other._widths, device)
        _check_alike([mine._widths, other._widths], ["here", "there"])
        n = self.n + other.n
        # The mean of all samples: sums about a distant point lose digits.
        centre = [(x + y.to(device)) / n for x, y in zip(mine._totals(), other._totals(), strict=True)]
        mine, theirs = mine._about(centre), other._about(centre)
        for total, tensor in zip(mine._tensors(), theirs._tensors(), strict=True):
            total += tensor.to(device)
        self.n, self._widths, self._shift = n, mine._widths, mine._shift
        self._cross, self._own = mine._cross, mine._own

    def reduced(self, group: dist.ProcessGroup | None = None) -> StreamingCKA:
        """Give each process the accumulator of the samples of all processes; a single process gets this object.

        Every process must call it, also one without samples; their numbers of samples may differ. Repeated samples
        count repeatedly, such as those by which ``DistributedSampler`` pads. This object is not changed: continue with
        it, not with the sum, and reduce again. Sums are sent on the CPU, under NCCL on the current CUDA device.

        Raises:
            ValueError: layers differ between processes; in each of them, before anything is summed.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
            return self
        found = cast(list[tuple[int, list[list[int]]]], [None] * dist.get_world_size(group))
        dist.all_gather_object(found, (self.n, self._widths), group=group)
        seen = [rank for rank, (n, _) in enumerate(found) if n]
        if not seen:
            return StreamingCKA()
        _check_alike([found[rank][1] for rank in seen], [f"process {rank}" for rank in seen])
        n, way = sum(n for n, _ in found), _way(group)
        part = self if self.n else StreamingCKA._empty(found[seen[0]][1], way)
        centre = part._totals()
        _sum_up(centre, way, group)
        whole = part._about([total / n for total in centre])
        _sum_up(whole._tensors(), way, group)
        whole.n = n
        return whole

    def compute(self) -> Tensor:
        """Give CKA of each layer with each, ``(L, L')`` fp64 (``(L, L)`` where one network was given).

        Raises:
            ValueError: fewer than 4 samples.
            NoStructure: layers that answer all samples alike, for which CKA is 0/0.
        """
        if self._cross is None or self.n < 4:
            raise ValueError(f"debiased CKA needs at least 4 samples, got {self.n}")
        cross = self._cross.hsic(self.n)
        if not self._own:
            own = self._own_norms(cross.diagonal(), self._cross.gram_size().diagonal(), 0)
            return cross / (own[:, None] * own)
        norms = [
            self._own_norms(
                torch.stack([sums.hsic(self.n)[0, 0] for sums in own]),
                torch.stack([sums.gram_size()[0, 0] for sums in own]),
                side,
            )
            for side, own in enumerate(self._own)
        ]
        return cross / (norms[0][:, None] * norms[1])

    def _start(self, batch: list[Tensor], widths: list[list[int]]) -> Sums:
        self._widths = widths
        self._shift = [x.mean(dim=0) for x in batch]
        device, same = batch[0].device, len(widths) == 1
        self._cross = Sums.zeros(widths[0], widths[-1], device, symmetric=same)
        self._own = [] if same else [[Sums.zeros([w], [w], device, symmetric=True) for w in side] for side in widths]
        return self._cross

    @classmethod
    def _empty(cls, widths: list[list[int]], device: torch.device) -> StreamingCKA:
        empty = cls()
        empty._start([torch.zeros(1, sum(side), dtype=torch.float64, device=device) for side in widths], widths)
        return empty

    def _totals(self) -> list[Tensor]:
        """Give the sum of the samples themselves, ``(D,)`` of each side."""
        assert self._cross is not None
        totals = (self._cross.x, self._cross.y)[: len(self._shift)]  # one network is both sides
        return [self.n * shift + total for shift, total in zip(self._shift, totals, strict=True)]

    def _about(self, centre: list[Tensor]) -> StreamingCKA:
        """Give the accumulator of the same samples, on the same device, with another shift."""
        assert self._cross is not None
        moved = StreamingCKA()
        moved.n, moved._widths = self.n, self._widths
        moved._shift = [new.to(old.device) for new, old in zip(centre, self._shift, strict=True)]
        by = [old - new for new, old in zip(moved._shift, self._shift, strict=True)]
        moved._cross = self._cross.moved(self.n, by[0], by[-1])
        for side, widths, step in zip(self._own, self._widths, by, strict=False):  # as in ``update``
            parts = torch.split(step, widths)
            moved._own.append([sums.moved(self.n, part, part) for sums, part in zip(side, parts, strict=True)])
        return moved

    def _tensors(self) -> list[Tensor]:
        """Give all sums, always in the same order."""
        assert self._cross is not None
        own = [sums for side in self._own for sums in side]
        return [tensor for sums in (self._cross, *own) for tensor in sums.tensors()]

    def _own_norms(self, own: Tensor, size: Tensor, side: int) -> Tensor:
        check_layer_structure(own * (self.n * (self.n - 3)), size, power=1, side=side)
        return own.sqrt()


def check_layers(sides: Sequence[Sequence[Tensor]]) -> None:
    """Raise ``ValueError`` unless every layer of every side is ``(B, D)`` with the same B of at least 1."""
    shapes = [[tuple(x.shape) for x in side] for side in sides]
    sizes = {shape[0] if len(shape) == 2 else None for side in shapes for shape in side}
    if not all(shapes) or len(sizes) != 1 or sizes & {None, 0}:
        raise ValueError(f"expected (B, D) for each layer, all of one batch with B >= 1, got {shapes}")


def _check_alike(widths: list[list[list[int]]], names: list[str]) -> None:
    if any(other != widths[0] for other in widths):
        found = ", ".join(f"{other} ({name})" for other, name in zip(widths, names, strict=True))
        raise ValueError(f"expected layers of the same widths in all parts, got {found}")


def _way(group: dist.ProcessGroup | None) -> torch.device:
    """Give the device between whose instances ``group`` sends tensors."""
    if dist.get_backend(group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _sum_up(tensors: list[Tensor], way: torch.device, group: dist.ProcessGroup | None) -> None:
    """Sum each tensor over the processes of ``group``, in place."""
    for tensor in tensors:
        travelling = tensor.to(way).contiguous()
        dist.all_reduce(travelling, group=group)
        tensor.copy_(travelling)
