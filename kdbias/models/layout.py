"""The layers, widths and grids of a network, measured by one dry forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdbias.config.errors import ArgumentError
from kdbias.models.attention_path import attention_modules

STEM = ("act1", "bn1", "conv1", "relu", "stem", "conv_stem")


@dataclass(frozen=True)
class Survey:
    """The layout of one network; the first four fields have an entry for each layer (blocks or stages, no stem).

    ``indices`` are the layers' numbers in the network's own ``forward_intermediates``, which counts the stem of some
    families. ``token_based`` tells whether the network computes on a token sequence rather than on maps.
    """

    names: tuple[str, ...]
    indices: tuple[int, ...]
    widths: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    width: int
    classes: int | None
    prefix: int
    has_dist: bool
    token_based: bool
    family: str

    def select(self, layers: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
        """Give the numbers of the requested layers.

        Raises:
            ValueError: a layer does not exist, or the layers are not ascending.
        """
        count = len(self.names)
        if layers == "all":
            return tuple(range(count))
        chosen = tuple(layers)
        if not chosen or any(type(i) is not int or not 0 <= i < count for i in chosen):
            valid = ", ".join(f"{i} ({name})" for i, name in enumerate(self.names))
            raise ArgumentError("layers", f"{list(chosen)} are not layers of this network; it has {valid}")
        if list(chosen) != sorted(set(chosen)):
            raise ArgumentError("layers", f"{list(chosen)} must be ascending, without repetition")
        return chosen


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put ``network`` into eval mode, and restore the mode of each of its modules afterwards."""
    before = [(m, m.training) for m in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def survey(network: nn.Module, image: Tensor) -> Survey:
    """Measure ``network`` on ``image``, ``(1, C, H, W)`` as the network takes it.

    Raises:
        TypeError: it has no ``forward_intermediates``, ``forward_head`` or ``get_classifier``, as timm's have.
    """
    missing = [n for n in ("forward_intermediates", "forward_head", "get_classifier") if not hasattr(network, n)]
    if missing:
        raise TypeError(f"{type(network).__name__} cannot be read: it has no {', '.join(missing)}")
    net: Any = network
    token_based = "return_prefix_tokens" in inspect.signature(net.forward_intermediates).parameters
    with evaluating(network), torch.no_grad():
        final, maps = net.forward_intermediates(image)
        width = net.forward_head(final, pre_logits=True).shape[-1]
    names = _names(net, len(maps))
    skip = 1 if len(maps) > 1 and names[0].rsplit(".", 1)[-1] in STEM else 0
    heads = net.get_classifier()
    has_dist = isinstance(heads, tuple)
    head = heads[0] if has_dist else heads
    return Survey(
        names=tuple(names[skip:]),
        indices=tuple(range(skip, len(maps))),
        widths=tuple(int(m.shape[1]) for m in maps[skip:]),
        grids=tuple((int(m.shape[2]), int(m.shape[3])) for m in maps[skip:]),
        width=int(width),
        classes=None if isinstance(head, nn.Identity) else int(net.num_classes),
        prefix=int(net.num_prefix_tokens) if token_based else 0,
        has_dist=has_dist,
        token_based=token_based,
        family="vit" if attention_modules(network) else "cnn",
    )


def _names(network: Any, count: int) -> list[str]:
    """Give the module that each of ``count`` layers comes from, as timm's ``feature_info`` has it."""
    info = getattr(network, "feature_info", ())
    entries = list(getattr(info, "info", info))
    if len(entries) != count:
        return [f"layer{i}" for i in range(count)]
    return [str(entry["module"]) for entry in entries]
