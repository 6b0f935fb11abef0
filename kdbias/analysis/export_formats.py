"""The formats of an export: each writes a network into a folder, and gives the answers of what it loads back.

A writer is a function (network, description, folder, images) to the answers ``(n, classes)`` to images
``(n, C, H, W)`` in [0, 1]; the description has the format of ``kdbias.zoo``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from kdbias.config.errors import ConfigError
from kdbias.files import NETWORK, digest, write_bytes, write_json
from kdbias.models.as_timm import NotTimm, timm_call
from kdbias.models.checkpoint import load_student
from kdbias.models.features import Extractor, Features
from kdbias.models.onnx_file import onnx_logits, write_onnx
from kdbias.zoo.exported import DESCRIPTION, SPEC, fingerprint

ONNX = "network.onnx"
TIMM, TIMM_CONFIG = "model.safetensors", "config.json"  # as timm's own folders have them
Description = dict[str, Any]
Writer = Callable[[Extractor, Description, Path, Tensor], Tensor]


@torch.no_grad()
def answers(network: Extractor, images: Tensor) -> Tensor:
    """Give the logits ``(n, classes)`` of images ``(n, C, H, W)``; of a network without classifier its features."""
    found: Features = network(images)
    return found.pooled if found.logits is None else found.logits


def as_safetensors(network: Extractor, description: Description, folder: Path, images: Tensor) -> Tensor:
    """Write ``network.safetensors`` and ``network.json``; ``kdbias.load_student`` loads the folder."""
    state = {key: value.contiguous() for key, value in network.network.state_dict().items()}
    write_bytes(folder / NETWORK, save(state, {SPEC: fingerprint(description["spec"])}))
    write_json(folder / DESCRIPTION, {**description, "sha256": digest(folder / NETWORK)})
    return answers(load_student(folder), images)


def as_onnx(network: Extractor, description: Description, folder: Path, images: Tensor) -> Tensor:
    """Write ``network.onnx``; onnxruntime loads it."""
    if network.info.classes is None:
        raise ConfigError("format: onnx has logits as its output, and it has no classifier: choose format=safetensors")
    write_onnx(network, images[:2], folder / ONNX)
    return torch.cat([onnx_logits(folder / ONNX, images[:3]), onnx_logits(folder / ONNX, images[3:])])


@torch.no_grad()
def as_timm(network: Extractor, description: Description, folder: Path, images: Tensor) -> Tensor:
    """Write ``model.safetensors`` and ``config.json`` as timm has them; ``timm.create_model`` makes the network."""
    try:
        name, arguments = timm_call(network, description["spec"]["model"])
    except NotTimm as error:
        raise ConfigError(f"format: {error}") from error
    state = {key: value.contiguous() for key, value in network.network.state_dict().items()}
    write_bytes(folder / TIMM, save(state, {"format": "pt"}))
    mean, std = (list(value) for value in network.statistics)
    config = {
        "architecture": name,
        "num_classes": arguments["num_classes"],
        "num_features": network.info.width,
        "model_args": arguments,
        "label_names": list(description["spec"]["data"]["names"]),
        "pretrained_cfg": {
            "mean": mean,
            "std": std,
            "input_size": [network.channels, network.size, network.size],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "num_classes": arguments["num_classes"],
        },
    }
    write_json(folder / TIMM_CONFIG, config)
    read = json.loads((folder / TIMM_CONFIG).read_text(encoding="utf-8"))
    loaded = timm.create_model(read["architecture"], **read["model_args"])
    loaded.load_state_dict(load_file(folder / TIMM))
    logits: Tensor = loaded.eval()(network.prepare(images))
    return logits


WRITERS: dict[str, Writer] = {"safetensors": as_safetensors, "onnx": as_onnx, "timm": as_timm}
