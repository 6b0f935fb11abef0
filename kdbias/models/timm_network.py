"""Any network of timm by its name, with its own input size and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import timm
from timm.data.config import resolve_model_data_config
from torch import nn

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.models.family import Family
from kdbias.models.features import Extractor, Inference, Layers
from kdbias.models.pretrained import Pretrained, create
from kdbias.models.weights import last_layers, load_state, read_weights


@builder("model")
def timm_network(
    data: DataInfo,
    *,
    name: str,
    pretrained: Pretrained = False,
    weights: str | Path | None = None,
    size: int | None = None,
    classes: Literal["data"] | None = "data",
    frozen: bool = False,
    pool: str | None = None,
    drop_path: float = 0.0,
    inference: Inference = "mean",
    layers: Layers = "all",
    family: Family | None = None,
) -> Extractor:
    """Build the timm network ``name``; it normalises with its own mean and deviation, and repeats one channel to three.

    Args:
        data: The images it is for.
        name: A name that ``timm.list_models()`` has, with or without a tag of pretrained weights.
        pretrained: Whether to download timm's weights; the classifier is fresh if the data has other classes. If the
            download fails, ``auto`` starts from scratch with a warning.
        weights: A file with such weights in timm's layout instead.
        size: Side of its input, to which images are resized (bicubic); None takes that of the data.
        classes: ``"data"`` for a classifier of the data's classes, None for none (a source of features alone).
        frozen: Whether only the classifier is trained. A fresh one starts from 0, because timm's initial values are so
            large that the first epochs undo them. The rest keeps its weights and statistics.
        pool: The penultimate features, by timm's name (``token``, ``avg``); None takes timm's default.
        drop_path: Stochastic depth, for the families that have it.
        inference: With a DIST token, the logits: the mean of both heads, one of them, or the mean with dense logits.
        layers: The blocks or stages whose tokens are read.
        family: ``cnn``, ``vit``, ``hybrid`` or ``other``; by the modules that mix positions where None.

    Raises:
        ValueError: timm has no such network, its patches do not divide the size, or the weights do not fit.
        OSError: the weights cannot be downloaded; names the alternatives.
    """
    side = size or data.size
    count = data.classes if classes == "data" else 0
    pretrained = pretrained if weights is None else False
    network: Any = create(name, pretrained, count, timm_arguments(name, side, pool, drop_path))
    if frozen and not (pretrained and network.pretrained_cfg["num_classes"] == count):
        for layer in last_layers(network):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    extractor = Extractor(
        network,
        mean=config["mean"],
        std=config["std"],
        channels=config["input_size"][0],
        size=side,
        resize=side != data.size,
        layers=layers,
        inference=inference,
        frozen=frozen,
        family=family,
    )
    if weights is not None:
        load_state(extractor, read_weights(weights, "model.weights"), "model.weights", fresh_head=True)
    return extractor


def timm_arguments(name: str, side: int, pool: str | None, drop_path: float) -> dict[str, Any]:
    """Give the arguments of ``timm.create_model`` for an input of ``side`` pixels, those that the network has."""
    arguments: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if pool is not None:
        arguments["global_pool"] = pool
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = side
    return arguments
