"""A step of training on one process and on two under DDP, to compare their gradients.

In fp64, without the terms' cast to fp32: there a difference of 1e-12 is rounding, and one of 1e-6 a mistake.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from processes import found_by
from small_pair import make_pair
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdbias.batch import Batch, DataInfo
from kdbias.losses import base
from kdbias.losses.base import LossTerm, Total

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3)


class Step(nn.Module):
    """A student and its loss as one module, as a training run wraps them."""

    def __init__(self, term: LossTerm) -> None:
        super().__init__()
        two = make_pair(INFO, has_dist=True)
        self.total = Total({"x": term})
        torch.manual_seed(0)
        two.build(self.total)
        self.student, self.teacher = two.student, [two.teacher]
        two.teacher.double().requires_grad_(False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, parts = self.total(self.student(batch.image), self.teacher[0](batch.teacher_image), batch, 1.0)
        return loss, parts["x"]


def doubled(batch: Batch, rows: slice) -> Batch:
    """Give rows of a batch in fp64."""
    batch = batch._replace(image=batch.image.double(), teacher_image=batch.teacher_image.double())
    return Batch(*(part[rows] for part in batch))


def gradients(term: LossTerm, rank: int = 0, processes: int = 1) -> tuple[Tensor, Tensor]:
    """Give the term's value and all gradients in a row, of the part of the batch that belongs to ``rank``."""
    step = Step(term).double()
    module = DistributedDataParallel(step) if processes > 1 else step
    rows = slice(rank * 16 // processes, (rank + 1) * 16 // processes)
    with patch.object(base, "in_fp32", lambda features, detach=False: features):
        loss, value = module(doubled(make_pair(INFO).batch(), rows))
    loss.backward()
    return value, torch.cat([p.grad.flatten() for p in step.parameters() if p.grad is not None])


def in_two_processes(terms: Mapping[str, LossTerm], folder: Path) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Give, for each of two processes, value and gradients of every term that is not yet built."""
    return found_by(partial(_work, dict(terms)), 2, folder, "forkserver")


def _work(terms: dict[str, LossTerm], rank: int, processes: int) -> dict[str, tuple[Tensor, Tensor]]:
    return {name: gradients(term, rank, processes) for name, term in terms.items()}
