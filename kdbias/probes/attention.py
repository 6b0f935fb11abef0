"""How far attention reaches, and whether it is directed at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional import uniform_attention_distance
from kdbias.functional.attention import attention_statistics
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor, Features
from kdbias.probes.attention_maps import attention_layers, has_attention_maps
from kdbias.probes.base import Result
from kdbias.probes.observe import PassProbe, observe


@builder("probe")
@dataclass(frozen=True)
class AttentionProbe(PassProbe):
    """Mean attention distance, entropy and CLS statistics of every head of a vision transformer.

    Arrays, ``(layers, heads)``: ``distance`` (patches), ``entropy`` (nats), and with a CLS token ``cls_dispersion``
    (patches²) and ``cls_self`` (the weight that CLS gives itself); ``()``: their values for uniform attention,
    ``uniform_distance``, ``uniform_entropy``, ``uniform_dispersion``. Each is a mean over images and, but for the
    CLS row, over queries; prefix tokens are out, rows renormalised, self-distance in. Compare a distance with
    the uniform value, and a difference with a control.

    Scalars: ``distance``, ``distance_ratio`` (to uniform), ``entropy``, ``entropy_ratio``, means over layers and
    heads; ``collapsed_heads``, heads with a mean distance below ``collapse`` patches; with a CLS token
    ``cls_dispersion``, ``cls_self``, and ``cls_collapsed``, heads with ``cls_self`` > .9.

    Source: Dosovitskiy et al. 2021 (2010.11929), Raghu et al. 2021 (2108.08810).
    """

    judges_answers: ClassVar[bool] = False

    precision: Precision = "fp32"
    collapse: float = 1.5
    name: str = "attention"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it is refused, its maps do not cover one grid, or there are no images.
        """
        return observe(network, batches, {self.name: self})[self.name]

    def refuses(self, network: Extractor) -> str:
        """Say why ``network`` has no attention distance; empty if it has one."""
        if not network.info.attends:
            kind = "CNN" if network.info.family == "cnn" else "network without attention"
            return f"a {kind} has no attention maps: attention distance is not defined for it"
        if not network.survey.token_based:
            return (
                "maps of windowed or pooled attention do not cover one grid: attention distance is not defined for it"
            )
        if not has_attention_maps(network):
            return "its attention has no maps to read: attention distance is not defined for it"
        return ""

    def observer(self, reader: Extractor) -> HeadSums:
        """Begin to observe ``reader``.

        Raises:
            ValueError: it is refused.
        """
        if reason := self.refuses(reader):
            raise ValueError(reason)
        info = reader.info
        return HeadSums(self, info.layers[0].grid, info.prefix, info.has_cls, len(attention_layers(reader)))


@dataclass
class HeadSums:
    """Sums over images of what each head's map says; the maps themselves are not kept."""

    maps: ClassVar[bool] = True

    probe: AttentionProbe
    grid: tuple[int, int]
    prefix: int
    has_cls: bool
    layers: int
    sums: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    images: int = 0

    def attention(self, layer: int, maps: Tensor) -> None:
        """Add one layer's maps ``(B, H, T, T)`` of one batch."""
        tokens = self.grid[0] * self.grid[1] + self.prefix
        if maps.shape[-2:] != (tokens, tokens):
            raise ValueError(
                f"layer {layer}: an attention map of {tuple(maps.shape[-2:])} does not cover the grid {self.grid} "
                f"and {self.prefix} prefix tokens ({tokens}); windowed and pooled attention have no distance here"
            )
        found = attention_statistics(maps, self.grid, self.prefix)._asdict()
        held = self.sums.setdefault(layer, {})
        for name, part in found.items():
            if part is not None and (self.has_cls or not name.startswith("cls_")):
                total = part.double().sum(0)
                held[name] = held[name] + total if name in held else total

    def see(self, batch: Batch, features: Features) -> None:
        """Count the images, whose maps have come."""
        self.images += len(batch.image)

    def means(self) -> dict[str, Tensor]:
        """Give ``(layers, heads)`` means over images, float64."""
        rows = [self.sums[layer] for layer in range(self.layers)]
        return {name: torch.stack([row[name] for row in rows]).cpu() / self.images for name in rows[0]}

    def result(self) -> Result:
        """Give what was measured."""
        (h, w), arrays = self.grid, self.means()
        distance, entropy = arrays["distance"], arrays["entropy"]
        uniform = {
            "uniform_distance": float(uniform_attention_distance(self.grid)),
            "uniform_entropy": math.log(h * w),
            "uniform_dispersion": (h * h - 1 + w * w - 1) / 12,
        }
        scalars = {
            "distance": float(distance.mean()),
            "distance_ratio": float(distance.mean()) / uniform["uniform_distance"],
            "entropy": float(entropy.mean()),
            "entropy_ratio": float(entropy.mean()) / uniform["uniform_entropy"],
            "collapsed_heads": float((distance < self.probe.collapse).sum()),
        }
        if self.has_cls:
            scalars["cls_dispersion"] = float(arrays["cls_dispersion"].mean())
            scalars["cls_self"] = float(arrays["cls_self"].mean())
            scalars["cls_collapsed"] = float((arrays["cls_self"] > 0.9).sum())
        meta = {"n": self.images, "grid": [h, w], "precision": self.probe.precision, "collapse": self.probe.collapse}
        values = {k: v.numpy() for k, v in arrays.items()} | {k: np.asarray(v) for k, v in uniform.items()}
        return Result(self.probe.name, scalars, values, meta)
