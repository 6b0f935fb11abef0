"""How far attention reaches, and whether it is directed at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.features import Extractor
from kdbias.functional import (
    attention_distance,
    attention_entropy,
    cls_dispersion,
    uniform_attention_distance,
)
from kdbias.probes.attention_maps import attention_layers, attention_maps
from kdbias.probes.base import Result
from kdbias.probes.evaluation import Precision, evaluation


@dataclass(frozen=True)
class AttentionProbe:
    """Mean attention distance, entropy and CLS statistics of every head of a vision transformer.

    Arrays, ``(layers, heads)``: ``distance`` (patches), ``entropy`` (nats), and with a CLS token ``cls_dispersion``
    (patches²) and ``cls_self`` (the weight that CLS gives itself); ``()``: their values for uniform attention,
    ``uniform_distance``, ``uniform_entropy``, ``uniform_dispersion``. Each is a mean over pictures and, but for the
    CLS row, over queries; prefix tokens are out, rows renormalised, self-distance in. A distance means little without
    the uniform value beside it, a difference little without a control.

    Scalars: ``distance``, ``distance_ratio`` (to uniform), ``entropy``, ``entropy_ratio``, means over layers and
    heads; ``collapsed_heads``, heads with a mean distance below ``collapse`` patches; ``cls_collapsed``, those with
    ``cls_self`` > .9.

    Source: Dosovitskiy et al. 2021 (2010.11929), Raghu et al. 2021 (2108.08810).
    """

    precision: Precision = "fp32"
    collapse: float = 1.5
    name: str = "attention"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no attention modules, its maps do not cover one grid, or there are no pictures.
        """
        layers = len(attention_layers(network))
        with evaluation(network, self.precision):
            reader = network.reading(layers="all")
            grid = reader.info.layers[0].grid
            sums = HeadSums(grid, reader.info.prefix)
            with attention_maps(network, sums.add):
                for batch in batches:
                    reader(batch.image)
        return self._result(sums.means(layers), grid, sums.pictures)

    def _result(self, arrays: dict[str, Tensor], grid: tuple[int, int], pictures: int) -> Result:
        h, w = grid
        distance, entropy = arrays["distance"], arrays["entropy"]
        uniform = {
            "uniform_distance": float(uniform_attention_distance(grid)),
            "uniform_entropy": math.log(h * w),
            "uniform_dispersion": (h * h - 1 + w * w - 1) / 12,
        }
        scalars = {
            "distance": float(distance.mean()),
            "distance_ratio": float(distance.mean()) / uniform["uniform_distance"],
            "entropy": float(entropy.mean()),
            "entropy_ratio": float(entropy.mean()) / uniform["uniform_entropy"],
            "collapsed_heads": float((distance < self.collapse).sum()),
        }
        if "cls_self" in arrays:
            scalars["cls_collapsed"] = float((arrays["cls_self"] > 0.9).sum())
        meta = {"n": pictures, "grid": [h, w], "precision": self.precision, "collapse": self.collapse}
        values = {k: v.cpu().numpy() for k, v in arrays.items()} | {k: np.asarray(v) for k, v in uniform.items()}
        return Result(self.name, scalars, values, meta)


@dataclass
class HeadSums:
    """Sums over pictures of what each head's map says; the maps themselves are not kept."""

    grid: tuple[int, int]
    prefix: int
    sums: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    pictures: int = 0

    def add(self, layer: int, attention: Tensor) -> None:
        """Add one layer's map ``(B, H, T, T)`` of one batch."""
        tokens = self.grid[0] * self.grid[1] + self.prefix
        if attention.shape[-2:] != (tokens, tokens):
            raise ValueError(
                f"layer {layer}: an attention map of {tuple(attention.shape[-2:])} does not cover the grid {self.grid} "
                f"and {self.prefix} prefix tokens ({tokens}); windowed and pooled attention have no distance here"
            )
        attention = attention.float()
        parts = {
            "distance": attention_distance(attention, self.grid, self.prefix),
            "entropy": attention_entropy(attention, self.prefix),
        }
        if self.prefix:
            parts["cls_dispersion"] = cls_dispersion(attention, self.grid, self.prefix)
            parts["cls_self"] = attention[:, :, 0, 0]
        held = self.sums.setdefault(layer, {})
        for name, part in parts.items():
            total = part.double().sum(0)
            held[name] = held[name] + total if name in held else total
        self.pictures += len(attention) if layer == 0 else 0

    def means(self, layers: int) -> dict[str, Tensor]:
        """Give ``(layers, heads)`` means over pictures, float64."""
        rows = [self.sums[layer] for layer in range(layers)]
        return {name: torch.stack([row[name] for row in rows]) / self.pictures for name in rows[0]}
