"""Vision transformers for small images, with and without a distillation token, on timm's classes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.models.features import Extractor, Inference, Layers
from kdbias.models.patches import require_tiled


class ClassTokenDropout(nn.Module):
    """In training, replaces an image's CLS token by the mean of its patch tokens with probability ``p``.

    It replaces timm's dropout of embedded tokens, before the first block; each image has its own draw.
    """

    def __init__(self, p: float, prefix: int) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"class_token_dropout must be in [0, 1), got {p}")
        self.p, self.prefix = p, prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, P+N, D)``, CLS first, to tokens of the same shape."""
        if not self.training:
            return tokens
        dropped = torch.rand(len(tokens), 1, 1, device=tokens.device) < self.p
        mean = tokens[:, self.prefix :].mean(1, keepdim=True)
        return torch.cat((torch.where(dropped, mean, tokens[:, :1]), tokens[:, 1:]), dim=1)


def thin_stem(channels: int, width: int, patch: int) -> nn.Sequential:
    """Build 3×3 convolutions of stride 2 from ``channels`` to ``width``, each half as wide as the next."""
    steps = _halvings(width, patch, 2)
    widths = [channels, *(width // 2 ** (steps - 1 - i) for i in range(steps))]
    layers: list[nn.Module] = []
    for i in range(steps):
        layers += [nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[i + 1])]
        layers += [nn.GELU()] if i + 1 < steps else []
    return nn.Sequential(*layers)


def deep_stem(channels: int, width: int, patch: int) -> nn.Sequential:
    """Build 3×3 convolutions of stride 1 and 2 in turn, each of stride 2 twice as wide, then a 1×1 one to ``width``.

    Source: Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021 (arXiv:2106.14881).
    """
    steps = _halvings(width, patch, 1)
    widths = [width // 2 ** (steps - i) for i in range(steps + 1)]
    plan = [(channels, widths[0], 1)]
    for i in range(steps):
        plan += [(widths[i], widths[i + 1], 2)]
        plan += [(widths[i + 1], widths[i + 1], 1)] if i + 1 < steps else []
    layers: list[nn.Module] = []
    for before, after, stride in plan:
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))


def _halvings(width: int, patch: int, spare: int) -> int:
    steps = patch.bit_length() - 1
    if steps < 1 or 2**steps != patch or width % (patch // spare):
        raise ArgumentError(
            "conv_stem", f"patch must be a power of 2 and {patch // spare} divide width, got {patch} and {width}"
        )
    return steps


def _require(conv_stem: object, **sizes: int) -> None:
    """Require whole numbers of at least 1, heads that divide the width, patches that tile the input, a known stem."""
    if sizes["width"] % sizes["heads"]:
        raise ArgumentError("heads", f"must divide width, got {sizes['heads']} and {sizes['width']}")
    require_tiled(sizes["size"], sizes["patch"])


@builder("model")
def vit(
    data: DataInfo,
    *,
    width: int,
    depth: int,
    heads: int,
    patch: int = 4,
    mlp_ratio: float = 4.0,
    distilled: bool = False,
    drop_path: float = 0.0,
    conv_stem: bool | Literal["deep"] = False,
    class_token_dropout: float = 0.0,
    size: int | None = None,
    inference: Inference = "mean",
    classes: Literal["data"] | None = "data",
    layers: Layers = "all",
) -> Extractor:
    """Build a vision transformer with a CLS token, and a DIST token with its own head where ``distilled``.

    Position embeddings are interpolated if the network is called at another size than it was built for.

    Args:
        data: The images it is for: channels, size, classes and statistics.
        width: Width of the tokens.
        depth: Number of blocks.
        heads: Attention heads of each block.
        patch: Side of a patch in pixels.
        mlp_ratio: Width of the MLP relative to ``width``.
        distilled: Whether there is a DIST token. Source: Touvron et al., ICML 2021 (arXiv:2012.12877).
        drop_path: Stochastic depth of the last block; it grows linearly from 0 at the first.
        conv_stem: Whether 3×3 convolutions of stride 2 embed the patches. ``"deep"`` adds convolutions of stride 1
            between them and a 1×1 convolution at the end (Xiao et al.), which learns much sooner without labels.
        class_token_dropout: Probability of ``ClassTokenDropout``.
        size: Side of its input, to which images are resized; None takes that of the data.
        inference: With a DIST token, the logits: the mean of both heads, or one of them, or (``dense``) the mean of
            both and of the DIST head's mean over the patch tokens.
        classes: ``"data"`` for a classifier of the data's classes, None for none (to learn without labels).
        layers: The blocks whose tokens are read.

    Raises:
        ArgumentError: a number or ``conv_stem`` is out of range, or numbers do not divide each other.
    """
    side = size or data.size
    _require(conv_stem, width=width, depth=depth, heads=heads, patch=patch, size=side)
    network: Any = (VisionTransformerDistilled if distilled else VisionTransformer)(
        img_size=side,
        patch_size=patch,
        in_chans=data.channels,
        num_classes=data.classes if classes == "data" else 0,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path,
        dynamic_img_size=True,
    )
    if conv_stem:
        network.patch_embed.proj = (deep_stem if conv_stem == "deep" else thin_stem)(data.channels, width, patch)
    if class_token_dropout:
        network.pos_drop = ClassTokenDropout(class_token_dropout, network.num_prefix_tokens)
    return Extractor(
        network,
        mean=data.mean,
        std=data.std,
        channels=data.channels,
        size=side,
        resize=side != data.size,
        layers=layers,
        inference=inference,
    )


@builder("model")
def deit_tiny(
    data: DataInfo,
    *,
    distilled: bool = True,
    drop_path: float = 0.1,
    inference: Inference = "mean",
    layers: Layers = "all",
) -> Extractor:
    """Build DeiT-Tiny for 32×32 images: patch 4, 192 wide, 12 blocks, 3 heads, MLP ratio 4; 5.37 M parameters.

    Source: Touvron et al., ICML 2021 (arXiv:2012.12877), its "tiny" with a smaller patch.
    """
    return vit(
        data,
        width=192,
        depth=12,
        heads=3,
        distilled=distilled,
        drop_path=drop_path,
        inference=inference,
        layers=layers,
    )


@builder("model")
def vit_tiny(data: DataInfo, *, drop_path: float = 0.1, layers: Layers = "all") -> Extractor:
    """Build ``deit_tiny`` without a DIST token: the control of a run whose terms train none."""
    return deit_tiny(data, distilled=False, drop_path=drop_path, layers=layers)


@builder("model")
def deit_tiny_hybrid(
    data: DataInfo,
    *,
    distilled: bool = True,
    drop_path: float = 0.1,
    class_token_dropout: float = 0.1,
    inference: Inference = "mean",
    layers: Layers = "all",
) -> Extractor:
    """Build DeiT-Tiny with MLP ratio 2, a convolutional stem (3-96-192) and class-token dropout; 3.75 M parameters."""
    return vit(
        data,
        width=192,
        depth=12,
        heads=3,
        mlp_ratio=2.0,
        distilled=distilled,
        drop_path=drop_path,
        conv_stem=True,
        class_token_dropout=class_token_dropout,
        inference=inference,
        layers=layers,
    )
