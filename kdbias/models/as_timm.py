"""A network as one that ``timm.create_model`` makes, where it is one or can be expressed as one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from timm.models.deit import VisionTransformerDistilled
from torch import nn

from kdbias.models.features import Extractor
from kdbias.models.timm_network import timm_arguments, timm_network

VITS = ("vit", "deit_tiny", "vit_tiny", "deit_tiny_hybrid")
OTHERS = "choose format=safetensors or format=onnx"


class NotTimm(ValueError):
    """A network that ``timm.create_model`` cannot make; the message says why and names the formats that work."""


def timm_call(extractor: Extractor, model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the name and the keyword arguments with which ``timm.create_model`` makes a network of the same tensors.

    ``model`` is the node that ``extractor`` was built from. The arguments are plain types.

    Raises:
        NotTimm: timm has no such network, or its logits are combined in another way than timm's.
    """
    module, _, builder = str(model.get("_target_")).rpartition(".")
    if extractor.info.classes is None:
        raise NotTimm("it has no classifier, and the timm format is checked by its logits: choose format=safetensors")
    if extractor.survey.has_dist and extractor.inference != "mean":
        raise NotTimm(
            f"its logits are those of inference={extractor.inference}, and timm's are the mean of both heads: {OTHERS}"
        )
    if module == "kdbias.models.deit" and builder in VITS:
        return _vit(extractor)
    if module == "kdbias.models.convnext":
        return "convnextv2_tiny", {"num_classes": extractor.info.classes, "patch_size": 2}
    if module == "kdbias.models.timm_network":
        return _named(extractor, model)
    raise NotTimm(f"{builder} is no network that timm.create_model makes: {OTHERS}")


def _vit(extractor: Extractor) -> tuple[str, dict[str, Any]]:
    network: Any = extractor.network
    if not isinstance(network.patch_embed.proj, nn.Conv2d):
        raise NotTimm(f"it has a convolutional stem, which is none of timm's: {OTHERS}")
    block = network.blocks[0]
    arguments = {
        "num_classes": extractor.info.classes,
        "img_size": extractor.size,
        "patch_size": network.patch_embed.patch_size[0],
        "in_chans": network.patch_embed.proj.in_channels,
        "embed_dim": network.embed_dim,
        "depth": len(network.blocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc1.out_features / network.embed_dim,
        "dynamic_img_size": True,
    }
    distilled = isinstance(network, VisionTransformerDistilled)
    return "deit_tiny_distilled_patch16_224" if distilled else "vit_tiny_patch16_224", arguments


def _named(extractor: Extractor, model: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network that ``kdbias.models.timm_network`` builds by its name in timm, without the tag of weights."""
    known = {key: one.default for key, one in inspect.signature(timm_network).parameters.items()}
    pool = model.get("pool", known["pool"])
    arguments = timm_arguments(str(model["name"]), extractor.size, pool, 0.0)
    return str(model["name"]).partition(".")[0], {"num_classes": extractor.info.classes, **arguments}
