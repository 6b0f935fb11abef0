"""What the benchmarks share: data of CIFAR-10's shape, random images of it, and a clock that waits for the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from kdbias.batch import Batch, DataInfo

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 45_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def make_batches(images: int, size: int, device: torch.device) -> list[Batch]:
    """Give random ``images`` in batches of ``size``, each a class of its own."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(images, 3, 32, 32, generator=generator).to(device)
    rows = torch.arange(images, device=device)
    return [Batch(x, i, i, x) for x, i in zip(image.split(size), rows.split(size), strict=True)]


def now(device: torch.device) -> float:
    """Give seconds of the clock, once all that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Give the seconds that ``work`` takes."""
    began = now(device)
    work()
    return now(device) - began
