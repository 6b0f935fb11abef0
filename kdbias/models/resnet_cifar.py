"""Residual networks for small images: ResNet-18 with a 3×3 stem, and the narrow CIFAR ResNets of He et al."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.models.features import Extractor, Layers

Shortcut = Literal["A", "B"]


class CifarBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut: subsampled and padded with zero channels (A), or a 1×1 convolution (B)."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs
        self.shortcut: nn.Module | None = None
        if shortcut == "B" and (stride != 1 or inputs != outputs):
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H/stride, W/stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self._skip(x))

    def _skip(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            return self.shortcut(x)  # type: ignore[no-any-return]
        if self.stride == 1 and self.missing == 0:
            return x
        before = self.missing // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))


class CifarResNet(nn.Module):
    """ResNet for 32×32 images: a 3×3 stem, one stage for each width, global average pooling, a linear layer.

    Parameter names are those of published CIFAR ResNets (``conv1``, ``layer1``..., ``linear``); the reading methods are
    timm's. With 0 classes it has no classifier.

    Source: He et al., CVPR 2016 (arXiv:1512.03385), section 4.2.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int, classes: int, channels: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.num_classes, self.num_features = classes, widths[-1]
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for i, (inputs, outputs) in enumerate(pairwise((widths[0], *widths))):
            stage = [CifarBlock(inputs, outputs, 1 if i == 0 else 2, shortcut)]
            stage += [CifarBlock(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
        self.linear = nn.Linear(widths[-1], classes) if classes else nn.Identity()
        self.feature_info = [
            {"module": f"layer{i + 1}", "num_chs": width, "reduction": 2**i} for i, width in enumerate(widths)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits ``(B, classes)``."""
        return self.forward_head(self.forward_intermediates(x)[0])

    def forward_intermediates(self, x: Tensor, indices: Sequence[int] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Give the last map and the maps after the stages ``indices`` (all where None), each ``(B, D, h, w)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        maps = []
        for i, entry in enumerate(self.feature_info):
            x = self.get_submodule(str(entry["module"]))(x)
            if indices is None or i in indices:
                maps.append(x)
        return x, maps

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Give penultimate features ``(B, D)`` of the last map where ``pre_logits``, else logits."""
        x = x.mean((2, 3))
        return x if pre_logits else self.linear(x)

    def get_classifier(self) -> nn.Module:
        """Give the last linear layer."""
        return self.linear


@builder("model")
def resnet18(data: DataInfo, *, layers: Layers = "all") -> Extractor:
    """Build ResNet-18 with a 3×3 stem and no max-pool: 11.2 M parameters, four stages of 64 to 512 channels.

    Source: He et al., CVPR 2016 (arXiv:1512.03385), with the stem that is usual for 32×32 images.
    """
    network: Any = ResNet(BasicBlock, layers=(2, 2, 2, 2), num_classes=data.classes, in_chans=data.channels)  # type: ignore[arg-type]
    network.conv1 = nn.Conv2d(data.channels, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return Extractor(network, mean=data.mean, std=data.std, channels=data.channels, size=data.size, layers=layers)


def cifar_resnet(data: DataInfo, *, blocks: int, layers: Layers = "all") -> Extractor:
    """Build the CIFAR ResNet of ``6 * blocks + 2`` layers: 16, 32 and 64 channels, option-A shortcuts.

    Colour images are normalised with ImageNet's mean and deviation, with which the published weights were trained;
    images of one channel with their own.
    """
    network = CifarResNet(
        widths=(16, 32, 64), blocks=blocks, classes=data.classes, channels=data.channels, shortcut="A"
    )
    mean, std = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) if data.channels == 3 else (data.mean, data.std)
    return Extractor(network, mean=mean, std=std, channels=data.channels, size=data.size, layers=layers)


@builder("model")
def resnet20(data: DataInfo, *, layers: Layers = "all") -> Extractor:
    """Build ResNet-20: 0.27 M parameters, 91.7 % on CIFAR-10 with the published weights."""
    return cifar_resnet(data, blocks=3, layers=layers)


@builder("model")
def resnet32(data: DataInfo, *, layers: Layers = "all") -> Extractor:
    """Build ResNet-32: 0.46 M parameters, 92.6 % on CIFAR-10 with the published weights."""
    return cifar_resnet(data, blocks=5, layers=layers)


@builder("model")
def resnet44(data: DataInfo, *, layers: Layers = "all") -> Extractor:
    """Build ResNet-44: 0.66 M parameters, 93.1 % on CIFAR-10 with the published weights."""
    return cifar_resnet(data, blocks=7, layers=layers)


@builder("model")
def resnet56(data: DataInfo, *, layers: Layers = "all") -> Extractor:
    """Build ResNet-56: 0.85 M parameters, 93.4 % on CIFAR-10 with the published weights."""
    return cifar_resnet(data, blocks=9, layers=layers)


@builder("model")
def small_cnn(
    data: DataInfo,
    *,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    classes: Literal["data"] | None = "data",
    layers: Layers = "all",
) -> Extractor:
    """Build a small residual CNN: ``blocks`` blocks in each stage, 1×1 shortcuts; 78 K parameters by default.

    ``classes`` None leaves the classifier out, to learn without labels.
    """
    network = CifarResNet(
        widths=tuple(widths),
        blocks=blocks,
        classes=data.classes if classes == "data" else 0,
        channels=data.channels,
        shortcut="B",
    )
    return Extractor(network, mean=data.mean, std=data.std, channels=data.channels, size=data.size, layers=layers)
