"""The output of any network: one ``Extractor`` gives the same ``Features`` for CNNs and vision transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError
from kdbias.models import attention_path, frozen_trunk
from kdbias.models.family import FAMILIES, Family
from kdbias.models.layout import Survey, survey
from kdbias.models.patches import patch_side, require_tiled
from kdbias.models.reading import answer, answer_densely, dense_problem, qkv_problem, read

Layers = Sequence[int] | Literal["all"]
Inference = Literal["mean", "cls", "dist", "dense"]


@dataclass(frozen=True, repr=False)
class Features:
    """The output of one forward pass.

    Tokens are ``(B, N, D)`` with ``N = h*w`` row-major, from a CNN as from a ViT, raw (no final norm); CLS, DIST and
    register tokens are apart, in ``prefix``.
    """

    logits: Tensor | None  # (B, C); the network's logits in eval mode; None for a self-supervised teacher
    class_logits: Tensor | None  # (B, C); the CLS head, which ce reads; the same as logits without a DIST token
    distill_logits: Tensor | None  # (B, C); the DIST head, if there is one
    dense_logits: Tensor | None  # (B, C, h, w); the classifier at every position of the last map, on request
    pooled: Tensor  # (B, D); penultimate; CLS for DeiT
    tokens: tuple[Tensor, ...]  # (B, N, D) for each requested layer
    prefix: tuple[Tensor, ...]  # (B, P, D) for each requested layer; P = 0 for a CNN
    grids: tuple[tuple[int, int], ...]  # (h, w) for each requested layer, measured
    qkv: tuple[Tensor, ...]  # (3, B, H, N, D/H) for each requested layer of a ViT, on request

    def __repr__(self) -> str:
        """Name the shapes, a line each; equal layers are counted, absent outputs are left out."""
        lines = [f"  {name}: {found}" for name, value in vars(self).items() if (found := _shapes(value))]
        return "\n".join(["Features(", *lines, ")"])


def _shapes(value: Any) -> str:
    """The shape of a tensor or pair, or those of a tuple of them, with the number of equal ones in a row."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if not isinstance(value, tuple):
        return ""
    shapes = [_shapes(one) if isinstance(one, Tensor) else str(one) for one in value]
    return ", ".join(f"{count} x {shape}" for shape, same in groupby(shapes) if (count := len(list(same))))


@dataclass(frozen=True)
class Layer:
    """One place where tokens are read; ``depth`` in 0..1, ``width`` in channels, ``grid`` in patches."""

    name: str
    depth: float
    width: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class NetworkInfo:
    """What a loss may know about a network; ``layers`` are those in its ``Features``, in the same order."""

    layers: tuple[Layer, ...]
    width: int
    classes: int | None
    prefix: int
    has_dist: bool
    family: Family
    has_cls: bool = False  # whether the first of the prefix tokens is a CLS token; else they are registers

    @property
    def convolves(self) -> bool:
        """Whether convolutions mix positions in its trunk."""
        return self.family in ("cnn", "hybrid")

    @property
    def attends(self) -> bool:
        """Whether attention mixes positions in its trunk."""
        return self.family in ("vit", "hybrid")


class Extractor(nn.Module):
    """Reads ``Features`` of any timm-like network in one forward pass, from images in [0, 1].

    The logits are the network's own, bit for bit. The network must have timm's ``forward_intermediates``,
    ``forward_head`` and ``get_classifier``.

    Args:
        network: The network; it is registered as ``network``, and the state dict holds its parameters alone.
        mean: Mean of each channel that the network expects.
        std: Standard deviation of each channel that the network expects.
        channels: Channels of the network's input; images of one channel are repeated to fill them.
        size: Side of the network's input in pixels.
        resize: Whether to resize images to ``size`` (bicubic, antialiased).
        layers: Numbers of the blocks (ViT) or stages (CNN) whose tokens are read, ascending, or ``"all"``.
        inference: With a DIST token, the ``logits``: the mean of both heads, or one of them, or (``dense``) the mean of
            both and of the DIST head's mean over places. Source of the last: Zhao et al., ICCV 2023 (arXiv:2307.08500).
        dense: Whether to give ``dense_logits``.
        qkv: Whether to give ``qkv``.
        frozen: Whether only the classifier is trained: the rest has no gradients and stays in eval mode.
        family: Of the network; None takes it from the modules that mix positions.
        known: What is already known about the network; measured if it is missing.

    Raises:
        ArgumentError: layers or a family that do not exist, or a size that the network's patches do not divide.
        ValueError: an output that this network does not have, or nothing to train.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        channels: int = 3,
        size: int,
        resize: bool = False,
        layers: Layers = "all",
        inference: Inference = "mean",
        dense: bool = False,
        qkv: bool = False,
        frozen: bool = False,
        family: Family | None = None,
        known: Survey | None = None,
    ) -> None:
        super().__init__()
        if inference not in get_args(Inference):
            raise ValueError(f"inference must be one of {', '.join(get_args(Inference))}, got {inference!r}")
        if family is not None and family not in FAMILIES:
            raise ArgumentError("family", f"must be one of {', '.join(FAMILIES)}, or null, got {family!r}")
        self.network = network
        self.statistics = tuple(mean), tuple(std)  # a network without weights has no numbers in its buffers
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1), persistent=False)
        device = next(network.parameters()).device
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        self.channels, self.size, self.resize = channels, size, resize
        self.inference: Inference = inference
        self.dense, self.qkv, self.frozen = dense, qkv, frozen
        self.training = network.training
        if known is None:
            require_tiled(size, patch_side(network))
        found = known or survey(network, torch.zeros(1, channels, size, size, device=device))
        self.survey = replace(found, family=family or found.family)
        self.layers = self.survey.select(layers)
        self.info = _info(self.survey, self.layers)
        self._check()
        if frozen:
            frozen_trunk.freeze(network)
        self.choose_path()

    def forward(self, image: Tensor) -> Features:
        """Read ``image``, ``(B, C, H, W)`` in [0, 1]."""
        network: Any = self.network
        x = self.prepare(image)
        attention = [network.blocks[self.survey.indices[i]].attn for i in self.layers] if self.qkv else []
        with attention_path.recorded_qkv(attention) as qkv:
            final, tokens, prefix, grids = read(network, x, self.survey, self.layers)
        pooled, class_logits, distill_logits = answer(network, final, self.survey)
        read_densely = self.dense or self.inference == "dense"
        dense_logits = answer_densely(network, final, self.survey, grids[-1]) if read_densely else None
        return Features(
            logits=self._combine(class_logits, distill_logits, dense_logits),
            class_logits=class_logits,
            distill_logits=distill_logits,
            dense_logits=dense_logits if self.dense else None,
            pooled=pooled,
            tokens=tokens,
            prefix=prefix,
            grids=grids,
            qkv=tuple(t[:, :, :, self.survey.prefix :] for t in qkv),
        )

    def prepare(self, image: Tensor) -> Tensor:
        """Give the network's input: ``image`` with its channels, at its size, normalised.

        ``image`` is ``(B, C, H, W)`` in [0, 1], with C or 1 channels. The result is ``(B, C, size, size)``
        where the network resizes, else ``(B, C, H, W)``.
        """
        if image.shape[1] == 1 and self.channels > 1:
            image = image.expand(-1, self.channels, -1, -1)
        if self.resize and tuple(image.shape[-2:]) != (self.size, self.size):
            image = F.interpolate(
                image, size=(self.size, self.size), mode="bicubic", antialias=True, align_corners=False
            )
        return (image - self.mean) / self.std

    def reading(self, *, layers: Layers | None = None, dense: bool | None = None, qkv: bool | None = None) -> Extractor:
        """Give another extractor of the same network; settings that are not given stay the same."""
        other = Extractor(
            self.network,
            mean=self.statistics[0],
            std=self.statistics[1],
            channels=self.channels,
            size=self.size,
            resize=self.resize,
            layers=self.layers if layers is None else layers,
            inference=self.inference,
            dense=self.dense if dense is None else dense,
            qkv=self.qkv if qkv is None else qkv,
            frozen=self.frozen,
            known=self.survey,
        )
        other.training = self.training  # a frozen trunk rests while its reader trains
        other.choose_path()
        return other

    def lack(self, reading: str) -> str:
        """Say why the network cannot give ``reading`` (a word of ``LossTerm.needs``), or nothing where it can."""
        if reading == "logits" and self.survey.classes is None:
            return "it has no classifier"
        if reading == "dist" and not self.survey.has_dist:
            return "it has no DIST token, as model=deit_tiny has"
        problem = {"dense": dense_problem, "qkv": qkv_problem}.get(reading)
        return problem(self.network, self.survey) if problem else ""

    def train(self, mode: bool = True) -> Extractor:
        """Set the mode (for a frozen trunk, that of the classifier alone) and the attention path."""
        super().train(mode)
        if self.frozen:
            frozen_trunk.rest(self.network)
        self.choose_path()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Extractor:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.choose_path()
        return self

    def _combine(
        self, class_logits: Tensor | None, distill_logits: Tensor | None, dense_logits: Tensor | None
    ) -> Tensor | None:
        if class_logits is None or distill_logits is None or self.inference == "cls":
            return class_logits
        if self.inference == "dense" and dense_logits is not None:
            return (class_logits + distill_logits + dense_logits.mean(dim=(2, 3))) / 3
        return distill_logits if self.inference == "dist" else (class_logits + distill_logits) / 2

    def _check(self) -> None:
        if self.inference in ("dist", "dense") and not self.survey.has_dist:
            raise ArgumentError("inference", f"{self.inference} needs a network with a DIST token")
        if self.inference == "dense" and (reason := self.lack("dense")):
            raise ArgumentError("inference", f"dense needs logits at every place, but {reason}: set mean")
        for wanted, name, reading in ((self.dense, "dense_logits", "dense"), (self.qkv, "qkv", "qkv")):
            if wanted and (reason := self.lack(reading)):
                raise ValueError(f"{type(self.network).__name__} gives no {name}: {reason}")

    def choose_path(self) -> None:
        """Set the attention path for the current mode and device, if ``training`` was set without ``train``."""
        device = next(self.network.parameters()).device
        attention_path.choose(self.network, training=self.training, device=device)


def asked(extractor: Extractor, needs: frozenset[str]) -> Extractor:
    """Give a reader of the same network with ``dense`` and ``qkv`` where ``needs`` names them; itself if it has them.

    Raises:
        ValueError: the network cannot give them, or ``needs`` names ``dist`` and it has no DIST head.
    """
    if "dist" in needs and (reason := extractor.lack("dist")):
        raise ValueError(f"{type(extractor.network).__name__} gives no distill_logits: {reason}")
    dense, qkv = extractor.dense or "dense" in needs, extractor.qkv or "qkv" in needs
    if (dense, qkv) == (extractor.dense, extractor.qkv):
        return extractor
    return extractor.reading(dense=dense, qkv=qkv)


def _info(known: Survey, layers: tuple[int, ...]) -> NetworkInfo:
    count = len(known.names)
    entries = tuple(Layer(known.names[i], (i + 1) / count, known.widths[i], known.grids[i]) for i in layers)
    return NetworkInfo(entries, known.width, known.classes, known.prefix, known.has_dist, known.family, known.has_cls)
