"""A teacher's answer to one image as bytes: which outputs it holds, and where."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.models.features import Features

CHECK = 4  # bytes of the checksum at the end of a record
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
ANSWERS = ("logits", "class_logits", "distill_logits", "pooled")
LAYERED = ("tokens", "prefix")


@dataclass(frozen=True)
class Field:
    """One output: its name, the position of its layer (None where it has none), and its form in ``Features``.

    ``shape`` and ``stride`` include the batch; its length does not count. A copy in the same order of memory is added
    up in the same order, so that losses equal those of the network's own answer to the last bit.
    """

    name: str
    layer: int | None
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    kept: torch.dtype

    @property
    def size(self) -> int:
        """Bytes for each image."""
        return math.prod(self.shape[1:]) * self.kept.itemsize


@dataclass(frozen=True)
class Record:
    """What is kept of an answer.

    ``absent`` names the outputs that the network does not give, ``same`` those that are its logits. Tokens of layers
    that are not kept become tensors on the meta device, which nothing can read.
    """

    fields: tuple[Field, ...]
    absent: tuple[str, ...]
    same: tuple[str, ...]
    layers: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]  # shapes of tokens and prefix tokens
    grids: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes for each image, with the checksum."""
        return sum(field.size for field in self.fields) + CHECK

    def plain(self) -> dict[str, Any]:
        """Give plain types, as they stand in a description."""
        found = asdict(self)
        for field in found["fields"]:
            field |= {key: str(field[key]) for key in ("dtype", "kept")}
        return found

    def pack(self, features: Features) -> NDArray[np.uint8]:
        """Give the records of a batch, ``(B, size)``.

        Raises:
            FloatingPointError: a value is not finite in the type in which it is kept.
        """
        parts = []
        for field in self.fields:
            value = _of(features, field).to(field.kept)
            if not bool(torch.isfinite(value).all()):
                raise FloatingPointError(f"{field.name} is not finite as {str(field.kept).removeprefix('torch.')}")
            parts.append(value.cpu().reshape(len(value), -1).contiguous().view(torch.uint8).numpy())
        body = np.concatenate(parts, axis=1)
        sums = np.array([zlib.crc32(row) for row in body], dtype="<u4")
        return np.concatenate([body, sums.view(np.uint8).reshape(-1, CHECK)], axis=1)

    def unpack(self, rows: NDArray[np.uint8], device: torch.device) -> Features:
        """Give the features of records ``(B, size)``."""
        raw, count, begin = torch.from_numpy(rows), len(rows), 0
        found: dict[tuple[str, int | None], Tensor] = {}
        for field in self.fields:
            part = raw[:, begin : begin + field.size].contiguous().view(field.kept)
            begin += field.size
            shape = (count, *field.shape[1:])
            value = torch.empty_strided(shape, field.stride, dtype=field.dtype, device=device)
            found[field.name, field.layer] = value.copy_(part.view(shape))
        single: dict[str, Tensor | None] = {name: found.get((name, None)) for name in ANSWERS}
        single |= dict.fromkeys(self.same, single["logits"])
        pooled = single.pop("pooled")
        assert pooled is not None
        tokens, prefix = (
            tuple(
                found[name, j] if (name, j) in found else torch.empty(count, *shapes[i][1:], device=_place(shapes[i]))
                for j, shapes in enumerate(self.layers)
            )
            for i, name in enumerate(LAYERED)
        )
        return Features(
            **single, dense_logits=None, pooled=pooled, tokens=tokens, prefix=prefix, grids=self.grids, qkv=()
        )


def record_of(features: Features, layers: Collection[int], kind: str) -> Record:
    """Describe what is kept of an answer like ``features``, of at least two images.

    Logits and penultimate features are always kept, of the tokens those of ``layers`` (positions in
    ``Features.tokens``). ``kind`` is ``exact``, ``fp16`` or ``bf16``.
    """
    fields, absent, same = [], [], []
    for name in ANSWERS:
        value = getattr(features, name)
        if value is None:
            absent.append(name)
        elif name != "logits" and value is features.logits:
            same.append(name)
        else:
            fields.append(_field(name, None, value, kind))
    for j in sorted(layers):
        for name in LAYERED:
            value = getattr(features, name)[j]
            if value.numel():
                fields.append(_field(name, j, value, kind))
    shapes = tuple((tuple(t.shape), tuple(p.shape)) for t, p in zip(features.tokens, features.prefix, strict=True))
    return Record(tuple(fields), tuple(absent), tuple(same), shapes, features.grids)


def damaged(rows: NDArray[np.uint8]) -> Iterator[int]:
    """Give the rows of records ``(B, size)`` whose bytes are not those that were written."""
    sums = np.ascontiguousarray(rows[:, -CHECK:]).view("<u4")[:, 0]
    for i, row in enumerate(rows):
        if zlib.crc32(row[:-CHECK]) != sums[i]:
            yield i


def _field(name: str, layer: int | None, value: Tensor, kind: str) -> Field:
    kept = HALVES.get(kind, value.dtype)
    return Field(name, layer, tuple(value.shape), tuple(value.stride()), value.dtype, kept)


def _of(features: Features, field: Field) -> Tensor:
    value = getattr(features, field.name)
    found: Tensor = value if field.layer is None else value[field.layer]
    return found


def _place(shape: tuple[int, ...]) -> str:
    """An output of no numbers is itself; of one that is not kept there is the shape alone."""
    return "cpu" if 0 in shape[1:] else "meta"
