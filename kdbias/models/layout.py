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
from kdbias.models.family import Family, family
from kdbias.models.reading import answer

STEM = ("act1", "bn1", "conv1", "relu", "stem", "conv_stem")
FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, IndexError, KeyError, NameError)


@dataclass(frozen=True)
class Survey:
    """The layout of one network; the first four fields have an entry for each layer (blocks or stages, no stem).

    ``indices`` are the layers' numbers in the network's own ``forward_intermediates``, which counts the stem of some
    families. ``token_based`` tells whether the network computes on a token sequence rather than on maps, ``map_last``
    whether its head takes a map.
    """

    names: tuple[str, ...]
    indices: tuple[int, ...]
    widths: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    width: int
    classes: int | None
    prefix: int
    has_cls: bool
    has_dist: bool
    token_based: bool
    map_last: bool
    family: Family

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
        ValueError: it does not take images of that size, its end cannot be read, or shapes do not decide its layout.
    """
    missing = [n for n in ("forward_intermediates", "forward_head", "get_classifier") if not hasattr(network, n)]
    if missing:
        raise TypeError(f"{type(network).__name__} cannot be read: it has no {', '.join(missing)}")
    try:
        with evaluating(network), torch.no_grad():
            return _measured(network, image)
    except FAILURES as error:
        if image.is_meta and "meta tensor" in str(error):  # torch has no kind of its own for it
            raise ValueError(
                f"{type(network).__name__} cannot be used here: its forward pass computes with the values of tensors, "
                "and a config is checked, and a checkpoint loaded, by a network's shapes alone: choose another network"
            ) from error
        height, width = image.shape[-2:]
        reason = " ".join(str(error).split()) or f"{type(error).__name__} in {type(network).__module__}"
        size = "" if isinstance(error, _Unreadable) else "give it the size it was made for, or "
        raise ValueError(
            f"{type(network).__name__} cannot be read at {height}x{width} px ({reason}): {size}choose another network"
        ) from error


class _Unreadable(ValueError):
    """A network that cannot be read at any size."""


def _measured(network: Any, image: Tensor) -> Survey:
    """Run ``network`` once, and its head as ``Extractor`` does."""
    token_based = "return_prefix_tokens" in inspect.signature(network.forward_intermediates).parameters
    heads = network.get_classifier()
    head, head_dist = heads if isinstance(heads, tuple) else (heads, None)
    if isinstance(head, nn.ModuleList):
        raise _Unreadable("its classifier is several layers")
    final, maps = network.forward_intermediates(image)
    pooled = network.forward_head(final, pre_logits=True)
    if pooled.ndim != 2:
        raise _Unreadable("its head gives a map, not one vector an image")
    names = _names(network, len(maps))
    skip = 1 if len(maps) > 1 and names[0].rsplit(".", 1)[-1] in STEM else 0
    found = Survey(
        names=tuple(names[skip:]),
        indices=tuple(range(skip, len(maps))),
        widths=tuple(int(m.shape[1]) for m in maps[skip:]),
        grids=tuple((int(m.shape[2]), int(m.shape[3])) for m in maps[skip:]),
        width=int(pooled.shape[1]),
        classes=None if isinstance(head, nn.Identity) else int(network.num_classes),
        prefix=int(getattr(network, "num_prefix_tokens", 0)) if token_based else 0,
        has_cls=token_based and getattr(network, "cls_token", None) is not None,
        has_dist=head_dist is not None,
        token_based=token_based,
        map_last=isinstance(final, Tensor) and final.ndim == 4,
        family=family(network),
    )
    if any(part is not None and part.shape != (1, found.classes) for part in answer(network, final, found)[1:]):
        raise _Unreadable("its classifier does not give one logit a class")
    return found


def _names(network: Any, count: int) -> list[str]:
    """Give the module that each of ``count`` layers comes from, as timm's ``feature_info`` has it."""
    info = getattr(network, "feature_info", ())
    entries = list(getattr(info, "info", info))
    if len(entries) != count:
        return [f"layer{i}" for i in range(count)]
    return [str(entry["module"]) for entry in entries]
