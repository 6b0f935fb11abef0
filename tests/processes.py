"""Several gloo processes on one machine, each with what it found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from preloaded import preload


def found_by(work: Callable[[int, int], Any], world: int, folder: Path, start: str = "fork") -> list[Any]:
    """Run ``work(rank, world)`` in ``world`` processes of one group; give what each returns, by rank.

    ``work`` that goes backward cannot be forked from a process that did so before: autograd has its threads. Then
    ``start`` is ``forkserver``, and ``work`` a function of a module.
    """
    if start == "forkserver":
        preload()
    mp.start_processes(_joined, (work, world, folder), nprocs=world, start_method=start)
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be a process group of one."""
    dist.init_process_group("gloo", f"file://{folder / 'store'}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _joined(rank, work, world, folder):
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", store, rank=rank, world_size=world, timeout=timedelta(seconds=120))
    found = work(rank, world)
    dist.barrier()  # who ends first takes its connections along, and the others fail
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
