"""Several gloo processes on one machine, each with what it found."""

from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def found_by(work, world, folder):
    """Run ``work(rank, world)`` in ``world`` processes of one group; give what each returns, by rank."""
    mp.start_processes(_joined, (work, world, folder), nprocs=world, start_method="fork")
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


@contextmanager
def alone(folder):
    """Be a process group of one."""
    dist.init_process_group("gloo", f"file://{folder / 'store'}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _joined(rank, work, world, folder):
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", store, rank=rank, world_size=world, timeout=timedelta(minutes=10))
    found = work(rank, world)
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
