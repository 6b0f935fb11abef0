"""Networks of timm with timm's weights: downloaded if possible, else one clear error within seconds."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import timm
import torch
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from torch import nn

from kdbias.config.errors import ArgumentError, ConfigError

Pretrained = bool | Literal["auto"]
FILES = ("model.safetensors", "pytorch_model.bin")  # where timm looks for weights in a repository of the hub
PATIENCE = 5.0  # seconds for the hub to answer


class MissingWeights(ConfigError, OSError):
    """Weights that can be neither downloaded nor found in the cache; the message names the alternatives."""

    def of_teacher(self) -> MissingWeights:
        """Give the error with the keys of a run's teacher, for one that this run does not train."""
        lost, _, _ = str(self).partition(": download that file")
        remedy = (
            "download that file elsewhere and give it as teacher.weights=PATH, or do without (teacher.pretrained=false)"
        )
        return MissingWeights(f"teacher.{lost}: {remedy}" if lost.startswith("model.") else str(self))


def create(name: str, pretrained: Pretrained, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the timm network ``name`` with a classifier of ``classes`` classes (0: none).

    Args:
        name: A name that ``timm.list_models()`` has, with or without a tag of pretrained weights.
        pretrained: Whether it gets timm's weights; ``auto`` is whether they are ``obtainable``. A run has decided that
            before its config is hashed (``kdbias.runs.pretrained``).
        classes: Number of classes; the classifier is fresh if the weights have another number.
        arguments: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: timm has no such network, or no weights for it.
        MissingWeights: the weights can be neither downloaded nor found in the cache.
    """
    _require_known(name)
    if obtainable(name) if pretrained == "auto" else pretrained:
        return _download(name, classes, arguments)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **arguments)
    return network


@cache
def obtainable(name: str) -> bool:
    """Tell whether timm's weights of a network are available, by downloading them into timm's cache.

    A process checks each network once, within seconds if there is no connection, and warns if the network must start
    from scratch. The state of the random generators is kept.

    Raises:
        ValueError: timm has no such network, or no weights for it.
    """
    _require_known(name)
    try:
        with torch.random.fork_rng(devices=[]):
            _download(name, 0, {})
    except MissingWeights as error:
        warnings.warn(f"{name} starts from scratch: {error}", stacklevel=2)
        return False
    return True


def _require_known(name: str) -> None:
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]) or "none alike"
        raise ArgumentError("name", f"timm {timm.__version__} has no {name!r}; it has {near}", of="model")


def _download(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ArgumentError("pretrained", f"timm has no weights for {name!r}: set it to false", of="model")
    try:
        if config.hf_hub_id:
            _require_hub(config.hf_hub_id)
        network: nn.Module = timm.create_model(name, pretrained=True, num_classes=classes, **arguments)
    except OSError as error:
        place = f"{FILES[0]} of https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
        raise MissingWeights(
            f"model.pretrained: the weights of {name} are not in the cache and cannot be downloaded ({error}). They "
            f"are {place}: download that file elsewhere and give it as model.weights=PATH for a network to train, as "
            "teacher.weights=PATH for a teacher without training, or as teacher.model.weights=PATH for one that is "
            "trained first; or do without (model.pretrained=false, teacher.pretrained=false)"
        ) from error
    return network


def _require_hub(repository: str) -> None:
    """Check that the weights are in the cache or the hub answers; its own client would retry for most of a minute.

    Raises:
        OSError: neither is the case.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in FILES):
        return
    try:
        urlopen(Request(hf_hub_url(repository, FILES[0]), method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return  # the hub answers; the client handles the content
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the client has its own certificates
            raise
