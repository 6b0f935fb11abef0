"""Two small networks of the package, of unlike widths and grids: a student and its teacher."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.losses.base import LossTerm, Total
from kdbias.models.deit import vit
from kdbias.models.features import Extractor, asked
from kdbias.models.resnet_cifar import small_cnn

CLASSES = 10


@dataclass
class Pair:
    """A student, a teacher and the data between them; both give what was asked of them and no more."""

    student: Extractor
    teacher: Extractor
    info: DataInfo

    @property
    def trunk(self) -> nn.Module:
        """What the student does first."""
        network = self.student.network
        return network.conv1 if self.student.info.family == "cnn" else network.patch_embed

    def build(self, term: LossTerm | Total) -> None:
        """Build a term on them, have them give what it needs and tell it the labels, as a run does."""
        term.build(self.student.info, self.teacher.info, self.info)
        term.take_classes(torch.arange(self.info.train) % CLASSES)
        self.student = asked(self.student, term.student_needs)
        self.teacher = asked(self.teacher, term.needs)

    def lacks(self, term: LossTerm) -> list[str]:
        """Give what the term needs and these families do not have."""
        sides = ((self.student, term.student_needs), (self.teacher, term.needs))
        return [need for network, needs in sides for need in sorted(needs) if network.lack(need)]

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
    """Make a student, with or without a DIST token, and a teacher of another width and grid, both in eval mode.

    CNNs have no CLS token and no attention. The teacher is of the student's family unless one is named. It requires
    gradients, so that a test can say that none reach it.
    """
    return deepcopy(_pair(info, has_dist, family, teacher_family or family))


@cache
def _pair(info: DataInfo, has_dist: bool, family: Family, teacher_family: Family) -> Pair:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if family == "vit":
            student = vit(info, width=24, depth=2, heads=2, patch=8, mlp_ratio=1.0, distilled=has_dist)
        else:
            student = small_cnn(info, widths=(4, 6, 12, 24), layers=(2, 3))
        if teacher_family == "vit":
            teacher = vit(info, width=40, depth=2, heads=2, patch=4, mlp_ratio=1.0)
        else:
            teacher = small_cnn(info, widths=(4, 16, 40), layers=(1, 2))
    return Pair(student.eval(), teacher.eval(), info)
