"""A real term with a state, small: a memory bank, and a normalising constant estimated in the first step.

As in CRD (Tian et al., ICLR 2020, arXiv:1910.10699), where the whole bank stands for the negatives.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.losses.base import LossTerm, Rows
from kdbias.losses.gather import gather


class Bank(LossTerm):
    """-log of an image's own teacher feature among those that the bank remembers of all images, unnormalised by Z.

    The bank holds a unit vector for each training image and moves by ``1 - momentum`` to what the teacher says; Z is
    the mean over the images of the first step, and stays.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})
    bank: Tensor
    z: Tensor

    def __init__(self, weight=1.0, momentum: float = 0.5, temperature: float = 0.5) -> None:
        super().__init__(weight)
        self.momentum, self.temperature = momentum, temperature

    def build(self, student, teacher, data) -> None:
        self.project = nn.Linear(student.width, teacher.width, bias=False)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("bank", F.normalize(torch.randn(data.train, teacher.width, generator=generator), dim=1))
        self.register_buffer("z", torch.zeros(()))

    def forward(self, student, teacher, batch, progress) -> Tensor:
        query, key = F.normalize(self.project(student.pooled), dim=1), F.normalize(teacher.pooled, dim=1)
        others = (query @ self.bank.T / self.temperature).exp().mean(1)
        self.pending = {"index": batch.index, "key": key, "others": others}
        z = torch.where(self.z == 0, gather(others.detach()).mean(), self.z)
        own = (query * key).sum(1) / self.temperature
        return ((others / z).log1p() - own).mean()

    def update(self, rows: Rows) -> None:
        index = rows["index"]
        moved = self.momentum * self.bank[index] + (1 - self.momentum) * rows["key"]
        self.bank[index] = F.normalize(moved, dim=1)
        self.z.copy_(torch.where(self.z == 0, rows["others"].mean(), self.z))
