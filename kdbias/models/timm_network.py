"""Any network of timm by its name, with its own input contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import timm
from timm.data.config import resolve_model_data_config
from torch import nn

from kdbias.batch import DataInfo
from kdbias.features import Extractor, Layers
from kdbias.weights import load_state, read_weights


def timm_network(
    data: DataInfo,
    *,
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    size: int | None = None,
    classes: Literal["data"] | None = "data",
    drop_path: float = 0.0,
    layers: Layers = "all",
) -> Extractor:
    """Build the timm network ``name``; it normalises with its own mean and deviation, and repeats one channel to three.

    Args:
        data: The pictures it is for.
        name: A name that ``timm.list_models()`` has, with or without a tag of pretrained weights.
        pretrained: Whether to download timm's weights; the classifier is fresh where the data has other classes.
        weights: A file with such weights in timm's layout instead.
        size: Side of the pictures it reads, which are resized to it (bicubic); the data's where None.
        classes: ``"data"`` for a classifier of the data's classes, None for none (a source of features alone).
        drop_path: Stochastic depth, for the families that have it.
        layers: The blocks or stages whose tokens are read.

    Raises:
        ValueError: timm has no such network, its patches do not divide the size, or the weights do not fit.
        OSError: the weights cannot be downloaded; names the alternatives.
    """
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]) or "none alike"
        raise ValueError(f"model.name: timm {timm.__version__} has no {name!r}; it has {near}")
    side = size or data.size
    network = _create(name, pretrained and weights is None, data.classes if classes == "data" else 0, side, drop_path)
    _check_patches(network, side)
    config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    extractor = Extractor(
        network,
        mean=config["mean"],
        std=config["std"],
        channels=config["input_size"][0],
        size=side,
        resize=side != data.size,
        layers=layers,
    )
    if weights is not None:
        load_state(extractor, read_weights(weights, "model.weights"), "model.weights", fresh_head=True)
    return extractor


def _create(name: str, pretrained: bool, classes: int, side: int, drop_path: float) -> nn.Module:
    arguments: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = side
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, **arguments)
    except OSError as error:
        if not pretrained:
            raise
        raise OSError(
            f"model.pretrained: the weights of {name} can be neither downloaded nor found in the cache. Download them "
            "elsewhere and give the file (model.weights=PATH or teacher.weights=PATH), or leave them out "
            "(model.pretrained=false)"
        ) from error
    return network


def _check_patches(network: nn.Module, side: int) -> None:
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if patch is not None and side % patch[0]:
        near = round(side / patch[0]) * patch[0] or patch[0]
        raise ValueError(f"model.size: {side} is no multiple of the patch size {patch[0]}; take {near}")
