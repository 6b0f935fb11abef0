"""To which family a network belongs: by the modules that mix positions in its trunk, not by its name."""

from __future__ import annotations

import re
from typing import Literal, get_args

from torch import nn

Family = Literal["cnn", "vit", "hybrid", "other"]
FAMILIES: tuple[Family, ...] = get_args(Family)

ATTENTION = re.compile(r"attn|attention|^(GPSA|MHSA|SHSA|SHMA|XCA|LiteMLA|LambdaLayer)$", re.IGNORECASE)
GATES = {  # attention by name, that weighs channels or positions one by one: nothing passes from one to another
    *("ChannelAttn", "LightChannelAttn", "SpatialAttn", "LightSpatialAttn", "SplitAttn", "SelectiveKernelAttn"),
    *("CoordAttn", "SimpleCoordAttn", "EfficientLocalAttn", "StripAttn", "ChannelAttention", "ChannelAttentionV2"),
}
ENDS = re.compile(r"^(neck|head\w*|conv_head|final_conv|global_pool|attn_pool|fc_norm|pool_head)$")
EMBEDDING = re.compile(r"^(stem\w*|conv_stem|patch_embed\w*|pixel_embed|embeds?|downsample|pool|reduction)$")
FIRST = re.compile(r"^(conv1|conv_?0)$")  # a stem's name too, where the network begins with it
STAGE = re.compile(r"^(stage|block|layer)s?\d*$")  # inside an embedding: a network of its own (ResNet before a ViT)


def family(network: nn.Module) -> Family:
    """Give ``"vit"`` for attention over positions, ``"cnn"`` for spatial convolution, ``"hybrid"`` for both.

    ``"other"`` has neither: MLP-Mixer, pooling, recurrence. Only the trunk counts. A convolutional stem, the embedding
    or merging of patches between stages, and convolutions that do not overlap leave a transformer one; attention that
    pools at the end, and squeeze-and-excitation or another gate of channels, leave a CNN one.
    """
    modules = dict(network.named_modules())
    attends = any(_attends(module) and not _ends(path) for path, module in modules.items())
    convolves = any(_convolves(module) and not _ends(path) and not _embeds(path) for path, module in modules.items())
    if attends:
        return "hybrid" if convolves else "vit"
    return "cnn" if convolves else "other"


def _attends(module: nn.Module) -> bool:
    """Whether a module is attention over positions (``fused_attn`` is timm's mark of a module with two kernels)."""
    name = type(module).__name__
    return name not in GATES and (hasattr(module, "fused_attn") or ATTENTION.search(name) is not None)


def _convolves(module: nn.Module) -> bool:
    """Whether a module is a convolution whose windows overlap, which so brings neighbours together."""
    return isinstance(module, nn.Conv2d) and any(k > s for k, s in zip(module.kernel_size, module.stride, strict=True))


def _ends(path: str) -> bool:
    return any(ENDS.match(part) for part in path.split("."))


def _embeds(path: str) -> bool:
    """Whether a module belongs to a stem, or to an embedding or merging of patches."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if EMBEDDING.match(part)), None)
    if at is None:
        return FIRST.match(parts[0]) is not None
    return not any(STAGE.match(part) for part in parts[at + 1 :])
