"""Networks of timm with timm's weights: downloaded where they can be had, else one clear error within seconds."""

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
    """Weights that can be neither downloaded nor found in the cache; the message says where else they may be named."""


def create(name: str, pretrained: Pretrained, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the timm network ``name`` with a classifier of so many classes (0: none).

    Args:
        name: A name that ``timm.list_models()`` has, with or without a tag of pretrained weights.
        pretrained: Whether it gets timm's weights; ``auto`` is whether they are ``obtainable``. A run has decided that
            before its config is hashed (``kdbias.runs.pretrained``).
        classes: Of the classifier, which is fresh where the weights classify another number of classes.
        arguments: What else ``timm.create_model`` takes.

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
    """Tell whether timm's weights of a network can be had, by having them: they lie in timm's cache afterwards.

    A process finds it out once for each network, within seconds where there is no connection, and warns where the
    network has to start from scratch. Random numbers are left as found.

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
        raise ArgumentError("pretrained", f"timm has no weights for {name!r}: set model.pretrained=false", of="model")
    try:
        if config.hf_hub_id:
            _require_hub(config.hf_hub_id)
        network: nn.Module = timm.create_model(name, pretrained=True, num_classes=classes, **arguments)
    except OSError as error:
        place = f"{FILES[0]} of https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
        raise MissingWeights(
            f"model.pretrained: the weights of {name} are not in the cache and cannot be downloaded ({error}). They "
            f"are {place}: fetch that file elsewhere and name it, by model.weights=PATH for a network to train, by "
            "teacher.weights=PATH for a teacher that is used as it is, by teacher.model.weights=PATH for one that is "
            "trained first, or go without (model.pretrained=false, teacher.pretrained=false)"
        ) from error
    return network


def _require_hub(repository: str) -> None:
    """Pass where the weights are in the cache or the hub answers: its own client tries again for most of a minute.

    Raises:
        OSError: neither.
    """
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in FILES):
        return
    try:
        urlopen(Request(hf_hub_url(repository, FILES[0]), method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return  # it answers; what it says is the client's matter
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the client has certificates of its own
            raise
