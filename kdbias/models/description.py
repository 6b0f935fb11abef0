"""The network that a checkpoint describes, held against its own tensors before any memory is taken.

A checkpoint may come from a stranger, and a few bytes of description can ask for terabytes. So the network is built on
torch's meta device first, where it has shapes alone, and within the bounds that the file's tensors set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from kdbias.batch import DataInfo
from kdbias.config.build import build, target
from kdbias.config.errors import ArgumentError
from kdbias.models.features import Extractor
from kdbias.models.symbols import without_symbols
from kdbias.models.weights import misfit

SMALLEST = 4096  # numbers up to this are no danger, however small the network
LARGEST_MAP = 2**25  # values of one layer for one image; a ResNet-18 with a 3×3 stem has as many at 724 px
SPARE = 1000  # parameters: builders replace some of those that they made
FILLS = {
    getattr(Tensor, name) for name in ("uniform_", "normal_", "erfinv_", "clamp_", "fill_", "zero_", "mul_", "add_")
}
INITS = {getattr(nn.init, name) for name in ("uniform_", "normal_", "trunc_normal_", "constant_", "kaiming_uniform_")}
COUNTS = ("depth", "blocks")  # arguments that say how often something is made
ALIKE = {F.gelu, F.relu, F.silu, F.dropout}  # they give the shape that they are given


def described(model: Mapping[str, Any], data: DataInfo) -> Extractor:
    """Build a network on torch's meta device: every shape, no weights.

    The same network is built only once, because it has no weights that anybody could change: ten times as long as on
    the CPU, since torch computes shapes in Python.

    Raises:
        TypeError: an argument is none that a yaml could give.
    """
    return _described(target(model, "model"), json.dumps(model, sort_keys=True), data)


@lru_cache(maxsize=64)
def _described(builder: Any, written: str, data: DataInfo) -> Extractor:
    """The network that a builder makes from its arguments; these are JSON, so that the cache can look them up."""
    with shapes_alone():
        network: Extractor = build(json.loads(written), data, group="model")
    return network


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Build and call networks on torch's meta device inside the block, without what changes no shape."""
    with without_symbols(), torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves out what torch takes long over and what changes no shape: meta tensors have no values.

    That is what initialises them in place, activations, and normalisation of as many channels as it has weights.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in INITS and (filled := args[0] if args else (kwargs or {})["tensor"]).is_meta:
            return filled
        if func in FILLS and args[0].is_meta and not any(isinstance(value, Tensor) for value in args[1:]):
            return args[0]
        if args and isinstance(args[0], Tensor) and args[0].is_meta and _alike(func, args, kwargs or {}):
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def _alike(func: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> bool:
    """Whether ``func`` gives a tensor of the shape of its first argument, and refuses nothing about it."""
    x = args[0]
    if func is F.layer_norm:
        shape = args[1] if len(args) > 1 else settings.get("normalized_shape")
        return shape is not None and tuple(x.shape[-len(shape) :]) == tuple(shape)
    if func is F.batch_norm:
        mean = args[1] if len(args) > 1 else settings.get("running_mean")
        return not settings.get("training") and len(args) < 6 and mean is not None and x.shape[1:2] == mean.shape
    return func in ALIKE


def build_described(model: Mapping[str, Any], data: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Extractor:
    """Build the network of a description (``model``, for the images of ``data``) whose tensors are ``weights``.

    The state of the random generators changes as by building it alone.

    Raises:
        ValueError: it is none that these tensors are of, or reads larger images than any network here.
        TypeError, ArithmeticError, RuntimeError: a builder or torch refuses the arguments.
    """
    info = DataInfo.from_dict(dict(data))
    _require_bounded(model, info, weights)
    with torch.random.fork_rng(devices=[]), _at_most(2 * len(weights) + SPARE):
        network = described(model, info)
    known = network.survey
    largest = max(width * height * side for width, (height, side) in zip(known.widths, known.grids, strict=True))
    if largest > LARGEST_MAP:
        raise ValueError(f"size: its layers have {largest:,} values an image, and at most {LARGEST_MAP:,} are allowed")
    if problem := misfit(network.network.state_dict(), weights):
        raise ValueError(f"the weights do not fit it: {problem}")
    extractor: Extractor = build(model, info, group="model")
    return extractor


def _require_bounded(model: Mapping[str, Any], data: DataInfo, weights: Mapping[str, Tensor]) -> None:
    """Refuse numbers and lists of a description that no network of so many tensors and values can have."""
    tensors, values = max(len(weights), 16), max(sum(value.numel() for value in weights.values()), SMALLEST)
    known = {key: value for key, value in asdict(data).items() if key in ("channels", "size", "classes")}
    for key, value in _leaves({**model, **known}):
        if isinstance(value, list | tuple) and len(value) > tensors:
            raise ArgumentError(key, f"{len(value):,} entries, and the file has {len(weights):,} tensors")
        if type(value) is int and abs(value) > (tensors if key in COUNTS else values):
            raise ArgumentError(key, f"{value} is more than the file's tensors can be of")
    for key in ("mean", "std"):
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in getattr(data, key)):
            raise ArgumentError(key, "must be finite numbers")


def _leaves(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every list and value in a description with the key that it is under; without recursion, as a file says depth."""
    left: list[tuple[str, Any]] = [(str(key), value) for key, value in node.items()]
    while left:
        key, value = left.pop()
        yield key, value
        if isinstance(value, Mapping):
            left.extend((str(inner), each) for inner, each in value.items())
        elif isinstance(value, list | tuple):
            left.extend((key, each) for each in value)


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Stop the building of modules, with a ValueError, as soon as they have more than ``count`` parameters."""
    made = 0

    def hook(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        made += parameter is not None
        if made > count:
            raise ValueError("it has more parameters than the file has tensors")

    handle = register_module_parameter_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()
