"""A step of training on one process and on two under DDP, to compare their gradients.

In fp64, without the terms' cast to fp32: there a difference of 1e-12 is rounding, and one of 1e-6 a mistake.
"""

from collections.abc import Mapping
from datetime import timedelta
from multiprocessing import set_forkserver_preload
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from stand_ins import make_pair
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
        self.student, self.teacher, self.total = two.student, [two.teacher], Total({"x": term})
        torch.manual_seed(0)
        self.total.build(two.student.info, two.teacher.info, INFO)
        two.teacher.double().requires_grad_(False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, parts = self.total(self.student(batch.image), self.teacher[0](batch.teacher_image), batch, 1.0)
        return loss, parts["x"]


def gradients(term: LossTerm, rank: int = 0, processes: int = 1) -> tuple[Tensor, Tensor]:
    """Give the term's value and all gradients in a row, of the part of the batch that belongs to ``rank``."""
    step = Step(term).double()
    module = DistributedDataParallel(step) if processes > 1 else step
    whole = make_pair(INFO).batch()
    whole = whole._replace(image=whole.image.double(), teacher_image=whole.teacher_image.double())
    rows = slice(rank * len(whole.image) // processes, (rank + 1) * len(whole.image) // processes)
    with patch.object(base, "_in_fp32", lambda features, detach=False: features):
        loss, value = module(Batch(*(part[rows] for part in whole)))
    loss.backward()
    return value, torch.cat([p.grad.flatten() for p in step.parameters()])


def in_two_processes(terms: Mapping[str, LossTerm], folder: Path) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Give, for each of two processes, value and gradients of every term that is not yet built."""
    set_forkserver_preload(["kdbias.losses.base"])  # one import for both
    mp.start_processes(_work, (dict(terms), folder), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _work(rank: int, terms: dict[str, LossTerm], folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", store, rank=rank, world_size=2, timeout=timedelta(minutes=10))
    torch.save({name: gradients(term, rank, 2) for name, term in terms.items()}, folder / f"{rank}.pt")
    dist.barrier()  # the first to leave takes the others' connections with it
    dist.destroy_process_group()
