"""Networks of one convolution, for which every measure is known."""

import torch
from torch import nn

from kdbias.models.features import Extractor


class OneConvolution(nn.Module):
    """A convolution, the mean over all places, a linear layer."""

    def __init__(self, conv: nn.Conv2d, classes: int) -> None:
        super().__init__()
        self.conv, self.num_classes = conv, classes
        self.head = nn.Linear(conv.out_channels, classes) if classes else nn.Identity()

    def forward_intermediates(self, x, indices=None):
        maps = self.conv(x)
        return maps, [maps]

    def forward_head(self, final, pre_logits=False):
        pooled = final.mean((2, 3))
        return pooled if pre_logits else self.head(pooled)

    def get_classifier(self):
        return self.head


def one_convolution(width=6, kernel=1, classes=10, padding="zeros", channels=3):
    torch.manual_seed(5)
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, padding_mode=padding)
    network = OneConvolution(conv, classes)
    if classes:
        nn.init.normal_(network.head.weight, std=20.0)
    return Extractor(network, mean=[0.5] * channels, std=[0.25] * channels, channels=channels, size=32)
