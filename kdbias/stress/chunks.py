"""The images of a stress set made in chunks, by one process or several; the bytes do not depend on how many."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kdbias.data.processes import context, is_of_main
from kdbias.stress.stress_set import StressSet, generator

CHUNK = 500
WORTH = 4.0  # seconds of work left that the start of processes is worth


class Clean(Protocol):
    """The clean images, read a part at a time."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the images."""

    def part(self, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Give the images ``(n, H, W, C)`` and labels ``(n,)`` from ``start`` to before ``stop``."""


class Chunk(NamedTuple):
    """Images ``(n, H, W, C)`` uint8, and what the set says of each: ``(n, notes)`` int64, -1 where it says nothing."""

    images: NDArray[np.uint8]
    notes: NDArray[np.int64]


def make(
    stress: StressSet, images: NDArray[np.uint8], labels: NDArray[np.int64], start: int, strength: float, seed: int
) -> Chunk:
    """Make the chunk of the images that begin at place ``start`` of their split; a pure function."""
    made = np.empty_like(images)
    notes = np.zeros((len(images), len(stress.notes)), np.int64)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        rng = generator(stress, seed, start + row)
        made[row], said = stress.noted(image, int(label), strength, rng)
        notes[row] = [said.get(name, -1) for name in stress.notes]
    return Chunk(made, notes)


def every(
    stress: StressSet, clean: Clean, starts: list[int], strength: float, seed: int, workers: int | None = None
) -> Iterator[tuple[int, Chunk]]:
    """Make the chunks that begin at ``starts``, in any order; each comes with its start.

    ``workers`` None takes all cores, if the first chunk shows that they are worth their start. A set whose class is
    defined in the program itself is made by one process, for new processes do not import that.
    """
    left = list(starts)
    count = 1 if _of_main(stress) else _cores() if workers is None else workers
    while left:
        start = left.pop(0)
        began = time.monotonic()
        yield start, make(stress, *_part(clean, start), start, strength, seed)
        expected = (time.monotonic() - began) * len(left)
        if count > 1 and left and (workers is not None or expected > WORTH):
            yield from _spread(stress, clean, left, strength, seed, min(count, len(left)))
            return


def _spread(
    stress: StressSet, clean: Clean, starts: list[int], strength: float, seed: int, count: int
) -> Iterator[tuple[int, Chunk]]:
    """The chunks by ``count`` processes; at most two chunks each are waiting, so large images stay on the disk."""
    spawn = context("spawn")  # a fork would copy the threads' locks of torch
    with ProcessPoolExecutor(count, spawn, initializer=_begin, initargs=(stress, strength, seed)) as pool:
        waiting: dict[Future[Chunk], int] = {}
        left = list(starts)
        try:
            while left or waiting:
                while left and len(waiting) < 2 * count:
                    start = left.pop(0)
                    waiting[pool.submit(_one, *_part(clean, start), start)] = start
                done = next(as_completed(waiting))
                yield waiting.pop(done), done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _part(clean: Clean, start: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return clean.part(start, min(start + CHUNK, len(clean)))


def _cores() -> int:
    """Give how many cores this process may use; macOS and Windows tell those of the machine alone."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_main(thing: Any) -> bool:
    """Whether a set, or one inside it, is of a class that the program itself defines."""
    if isinstance(thing, list | tuple):
        return any(map(_of_main, thing))
    inside = [getattr(thing, field.name) for field in fields(thing)] if is_dataclass(thing) else []
    return is_of_main(thing) or _of_main(inside)


_shared: tuple[StressSet, float, int] | None = None


def _begin(stress: StressSet, strength: float, seed: int) -> None:
    """In a new process: keep what all its chunks share, and end with the process that started it."""
    global _shared
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    _shared = (stress, strength, seed)


def _end_with_parent() -> None:
    """End this process once its parent is gone: a killed parent cannot tell its pool to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(images: NDArray[np.uint8], labels: NDArray[np.int64], start: int) -> Chunk:
    if _shared is None:
        raise RuntimeError("a process of the pool has not begun")
    stress, strength, seed = _shared
    return make(stress, images, labels, start, strength, seed)
