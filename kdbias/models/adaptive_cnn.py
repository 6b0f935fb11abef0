"""AdaptiveCNN: residual blocks with squeeze-excitation, wide for colour images and narrow for digits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.models.features import Extractor, Layers


class SqueezeExcitation(nn.Module):
    """Weights each channel by a function of the mean of all channels.

    Source: Hu, Shen, Sun, CVPR 2018 (arXiv:1709.01507), without biases.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, D, H, W)`` to the same shape."""
        weight: Tensor = self.excite(F.relu(self.squeeze(x.mean((2, 3))))).sigmoid()
        return x * weight[:, :, None, None]


class ConvBlock(nn.Module):
    """Two 3×3 convolutions and squeeze-excitation, with a 1×1 convolution as shortcut if shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H/stride, W/stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.se(self.bn2(self.conv2(y))) + self.shortcut(x))


class AdaptiveCNN(nn.Module):
    """A 3×3 stem, stages of blocks (all but the first halve the map), average pooling, two linear layers.

    Its reading methods are timm's. The penultimate features are what the last linear layer reads.

    Args:
        widths: channels of each stage; the stem has those of the first.
        blocks: blocks of each stage.
        pool: whether max-pooling halves the stem's map.
        hidden: width of the penultimate features.
        dropout: probability that a penultimate feature is 0, in training.
        classes: number of classes.
        channels: channels of its images.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        pool: bool,
        hidden: int,
        dropout: float,
        classes: int,
        channels: int,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = classes, hidden
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        inputs = widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = ConvBlock(inputs, width, 1 if i == 0 else 2)
            self.add_module(
                f"layer{i + 1}", nn.Sequential(first, *(ConvBlock(width, width, 1) for _ in range(count - 1)))
            )
            inputs = width
        self.hidden = nn.Linear(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, classes)
        self.feature_info = [
            {"module": f"layer{i + 1}", "num_chs": width, "reduction": (1 + pool) * 2**i}
            for i, width in enumerate(widths)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Give logits ``(B, classes)``."""
        return self.forward_head(self.forward_intermediates(x)[0])

    def forward_intermediates(self, x: Tensor, indices: Sequence[int] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Give the last map and the maps after the stages ``indices`` (all where None), each ``(B, D, h, w)``."""
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        maps = []
        for i, entry in enumerate(self.feature_info):
            x = self.get_submodule(str(entry["module"]))(x)
            if indices is None or i in indices:
                maps.append(x)
        return x, maps

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Give penultimate features ``(B, hidden)`` of the last map where ``pre_logits``, else logits."""
        x = self.dropout(F.relu(self.hidden(x.mean((2, 3)))))
        return x if pre_logits else self.linear(x)

    def get_classifier(self) -> nn.Module:
        """Give the last linear layer."""
        return self.linear


@builder("model")
def adaptive_cnn(data: DataInfo, *, dropout: float = 0.3, layers: Layers = "all") -> Extractor:
    """Build AdaptiveCNN for 32×32 colour images: four stages of 64 to 512 channels; 17.6 M parameters."""
    network = AdaptiveCNN(
        widths=(64, 128, 256, 512),
        blocks=(2, 3, 3, 3),
        pool=False,
        hidden=256,
        dropout=dropout,
        classes=data.classes,
        channels=data.channels,
    )
    return Extractor(network, mean=data.mean, std=data.std, channels=data.channels, size=data.size, layers=layers)


@builder("model")
def adaptive_cnn_mnist(data: DataInfo, *, dropout: float = 0.3, layers: Layers = "all") -> Extractor:
    """Build AdaptiveCNN for 28×28 digits: a pooled stem, three stages of 32 to 128 channels; 0.71 M parameters."""
    network = AdaptiveCNN(
        widths=(32, 64, 128),
        blocks=(2, 2, 2),
        pool=True,
        hidden=64,
        dropout=dropout,
        classes=data.classes,
        channels=data.channels,
    )
    return Extractor(network, mean=data.mean, std=data.std, channels=data.channels, size=data.size, layers=layers)
