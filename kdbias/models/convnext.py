"""ConvNeXt V2-Tiny for small images: ImageNet weights behind a fresh 2×2 stem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.data.config import resolve_model_data_config
from torch import nn

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.models.features import Extractor, Layers
from kdbias.models.pretrained import Pretrained, create
from kdbias.models.weights import load_state, read_weights

NAME = "convnextv2_tiny.fcmae_ft_in1k"
STEM = ("stem.0.weight", "stem.0.bias")


@builder("model")
def convnextv2_tiny(
    data: DataInfo,
    *,
    pretrained: Pretrained = False,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
    layers: Layers = "all",
) -> Extractor:
    """Build ConvNeXt V2-Tiny with a 2×2 stem of stride 2, which is always fresh; 27.9 M parameters with ten classes.

    At 32 px its four stages end in maps of 16, 8, 4 and 2. It normalises with ImageNet's mean and deviation.
    Source: Woo et al., CVPR 2023 (arXiv:2301.00808), whose stem is 4×4, of stride 4.

    Args:
        data: The images it is for.
        pretrained: Whether to download ImageNet weights; if that fails, ``auto`` starts from scratch with a
            warning.
        weights: A file with ImageNet weights in timm's layout instead.
        drop_path: Stochastic depth of the last stage; it grows from 0 at the first.
        layers: The stages whose tokens are read.

    Raises:
        ValueError: the weights do not fit.
        OSError: the weights cannot be downloaded; names the alternatives.
    """
    network: Any = create(NAME, pretrained if weights is None else False, data.classes, {"drop_path_rate": drop_path})
    network.stem[0] = _stem(network.stem[0])
    config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    extractor = Extractor(network, mean=config["mean"], std=config["std"], size=data.size, layers=layers)
    if weights is not None:
        own = network.state_dict()
        state = read_weights(weights, "model.weights") | {name: own[name] for name in STEM}
        load_state(extractor, state, "model.weights", fresh_head=True)
    return extractor


def _stem(old: nn.Conv2d) -> nn.Conv2d:
    """Give a 2×2 convolution of stride 2 in place of timm's 4×4, with timm's initial weights."""
    stem = nn.Conv2d(old.in_channels, old.out_channels, 2, 2)
    nn.init.trunc_normal_(stem.weight, std=0.02)
    nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
    return stem
