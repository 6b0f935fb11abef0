"""Two stand-in networks of unlike shapes that give everything a loss may read."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.models.features import Features, Layer, NetworkInfo

CLASSES = 10


class StandIn(nn.Module):
    """A trunk, from which all features come, and heads: the least that has the contract of an ``Extractor``."""

    def __init__(self, width: int, grid: tuple[int, int], prefix: int, has_dist: bool, family: str) -> None:
        super().__init__()
        self.trunk = nn.Linear(3, width)
        self.head = nn.Linear(width, CLASSES)
        self.dist = nn.Linear(width, CLASSES) if has_dist else None
        self.width, self.grid, self.prefix = width, grid, prefix
        layers = tuple(Layer(f"layer{i}", depth, width, grid) for i, depth in enumerate((0.5, 1.0)))
        self.info = NetworkInfo(layers, width, CLASSES, prefix, has_dist, family)

    def forward(self, image: Tensor) -> Features:
        pixels = F.adaptive_avg_pool2d(image, self.grid).flatten(2).mT
        deep = torch.tanh(self.trunk(pixels))
        layers = (deep, torch.tanh(2 * deep))
        pooled = layers[-1].mean(dim=1)
        class_logits = self.head(pooled)
        dist = None if self.dist is None else self.dist(pooled)
        heads = layers[-1].unflatten(-1, (1, self.width)).transpose(1, 2)  # one attention head
        return Features(
            logits=class_logits if dist is None else (class_logits + dist) / 2,
            class_logits=class_logits,
            distill_logits=dist,
            dense_logits=self.head(layers[-1]).mT.unflatten(-1, self.grid),
            pooled=pooled,
            tokens=layers,
            prefix=tuple(t[:, : self.prefix] for t in layers),
            grids=(self.grid, self.grid),
            qkv=tuple(torch.stack([heads, heads, heads]) for _ in layers) if self.info.family == "vit" else (),
        )


@dataclass
class Pair:
    """A student, a teacher and the data between them."""

    student: StandIn
    teacher: StandIn
    info: DataInfo

    def batch(self, size: int = 16, mixed: bool = False, seed: int = 0) -> Batch:
        """Images of a colour of their own and some noise, so that they differ as images and from place to place."""
        generator = torch.Generator().manual_seed(seed)
        image = (torch.rand(size, 3, 1, 1, generator=generator) + torch.rand(size, 3, 32, 32, generator=generator)) / 2
        target = torch.randint(CLASSES, (size,), generator=generator)
        if mixed:
            other = torch.randint(CLASSES, (size,), generator=generator)
            target = 0.7 * F.one_hot(target, CLASSES).float() + 0.3 * F.one_hot(other, CLASSES).float()
        return Batch(image, target, torch.arange(size), image)


Family = Literal["vit", "cnn"]


def make_pair(
    info: DataInfo, has_dist: bool = False, family: Family = "vit", teacher_family: Family | None = None
) -> Pair:
    """Make a student, with or without a DIST token, and a teacher of another width and grid.

    CNNs have no CLS token and no attention. The teacher is of the student's family unless one is named.
    """
    torch.manual_seed(1)
    taught_by = teacher_family or family
    student = StandIn(24, (4, 4), prefix=int(family == "vit") + has_dist, has_dist=has_dist, family=family)
    teacher = StandIn(40, (8, 8), prefix=int(taught_by == "vit"), has_dist=False, family=taught_by)
    return Pair(student, teacher.requires_grad_(True), info)
