"""A policy's operations on a batch of uint8 images; each image has its own operations.

In each slot the images are sorted by their actions, so that those of one kind are adjacent. Each kind is computed at
once, in place. The last step restores the order of the images. All sizes are known on the host, so nothing waits for
the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.data.blend import Runs, saturate, sharpen, stretch
from kdbias.data.geometry import put
from kdbias.data.index_maps import move, source_maps
from kdbias.data.lookup import autocontrast_tables, equalize_tables, fixed_tables
from kdbias.data.operations import Kind
from kdbias.data.policies import Policy


@dataclass(frozen=True, eq=False)
class Prepared:
    """The tables that the actions of a policy need, for one image size and device.

    ``fixed`` ``(f, 256)`` and ``source`` ``(g, H * W)`` have a row for each action of their kind; ``factors`` for each
    action are those of a blend, 1 + its magnitude, and ``factor`` the same as a float32 tensor.
    """

    fixed: Tensor
    source: Tensor
    factors: tuple[float, ...]
    factor: Tensor


@dataclass(frozen=True, eq=False)
class Slot:
    """One action for each image, in order: ``codes`` ``(B,)`` on the host, ``device_codes`` on the device.

    ``bounds`` says where the images of each kind begin.
    """

    codes: NDArray[np.int64]
    device_codes: Tensor
    bounds: NDArray[np.int64]

    def span(self, first: Kind, last: Kind | None = None) -> slice:
        """Give the place of the images of one kind, or of the kinds ``first`` to ``last``."""
        return slice(int(self.bounds[first]), int(self.bounds[(first if last is None else last) + 1]))

    def runs(self, span: slice, prepared: Prepared) -> Runs:
        """Give the factors within ``span``, and how many images have each."""
        codes, counts = np.unique(self.codes[span], return_counts=True)
        return [(prepared.factors[code], count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)]


def perform(image: Tensor, codes: NDArray[np.int64], policy: Policy) -> Tensor:
    """Apply to each of the uint8 images ``(B, C, H, W)`` its actions, ``(B, slots)``, one slot after the other.

    ``C`` is 3 or 1. The result equals torchvision's (v2 functional, on uint8 tensors, black outside) bit for bit.
    ``image`` is not changed; if no image has any action, it is returned itself.
    """
    if not codes.any():
        return image
    prepared = _prepare(policy, image.shape[-2], image.shape[-1], image.device)
    place = np.arange(len(image))  # where each image lies now
    for column in codes.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        rows, device_codes = put(np.stack([place[order], ordered]), image.device)
        place[order] = np.arange(len(order))
        image = image.index_select(0, rows)
        _change(image, Slot(ordered, device_codes, np.searchsorted(ordered, policy.starts)), policy, prepared)
    return image.index_select(0, put(place, image.device))


def _change(image: Tensor, slot: Slot, policy: Policy, prepared: Prepared) -> None:
    """Do the actions of a slot, in place."""
    if _some(span := slot.span(Kind.FIXED, Kind.EQUALIZE)):
        values = image[span].flatten(2)  # a view
        index = values.to(torch.int64)
        torch.gather(_tables(values, index, slot, policy, prepared), 2, index, out=values)
    if _some(span := slot.span(Kind.GEOMETRY)):
        source = prepared.source.index_select(0, slot.device_codes[span] - policy.starts[Kind.GEOMETRY])
        image[span] = move(image[span], source)
    for kind, blend in ((Kind.CONTRAST, stretch), (Kind.COLOUR, saturate)):
        if _some(span := slot.span(kind)):
            factor = prepared.factor.index_select(0, slot.device_codes[span])
            image[span] = blend(image[span], factor, slot.runs(span, prepared))
    if _some(span := slot.span(Kind.SHARPNESS)):
        image[span] = sharpen(image[span], slot.runs(span, prepared))


def _tables(values: Tensor, index: Tensor, slot: Slot, policy: Policy, prepared: Prepared) -> Tensor:
    """Give the tables ``(n, C, 256)`` of ``values`` ``(n, C, H * W)``, the images that a table changes."""
    tables = []
    first = slot.span(Kind.FIXED).start
    if _some(span := slot.span(Kind.FIXED)):
        fixed = prepared.fixed.index_select(0, slot.device_codes[span] - policy.starts[Kind.FIXED])
        tables.append(fixed[:, None].expand(-1, values.shape[1], -1))
    if _some(span := slot.span(Kind.AUTO_CONTRAST)):
        tables.append(autocontrast_tables(values[span.start - first : span.stop - first]))
    if _some(span := slot.span(Kind.EQUALIZE)):
        tables.append(equalize_tables(values[span.start - first :], index[span.start - first :]))
    return torch.cat(tables)


def _some(span: slice) -> bool:
    return bool(span.start < span.stop)


@lru_cache(maxsize=32)
def _prepare(policy: Policy, height: int, width: int, device: torch.device) -> Prepared:
    magnitudes = [(action, policy.scale.magnitude(action, height, width)) for action in policy.actions]
    fixed, moving = (slice(*policy.span(kind)) for kind in (Kind.FIXED, Kind.GEOMETRY))
    factors = tuple(1.0 + magnitude for _, magnitude in magnitudes)
    return Prepared(
        fixed=fixed_tables(magnitudes[fixed]).to(device),
        source=source_maps(magnitudes[moving], height, width).to(device),
        factors=factors,
        factor=torch.tensor(factors, dtype=torch.float32).to(device),
    )
