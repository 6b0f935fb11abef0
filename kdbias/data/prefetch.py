"""Make the next batch in a side thread while a step runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from kdbias.batch import Batch

Job = TypeVar("Job")
Made = tuple[Batch, "torch.cuda.Event | None"]

AHEAD = 1
THREAD = "kdbias-prefetch"


def ahead(
    make: Callable[[Job], Batch], jobs: Iterable[Job], stream: SideStream | None = None
) -> Generator[tuple[Job, Batch], None, None]:
    """Give each job with its batch, in order, made one batch in advance.

    ``make`` runs in one side thread, on ``stream`` if one is given: then the caller's stream waits for it and the host
    does not. An error in ``make`` is raised here, when its job is due. The thread ends before the last batch is given,
    or when the generator is closed, at the latest after the current batch.
    """
    if stream is not None:
        stream.begin()
    waiting: deque[tuple[Job, Future[Made]]] = deque()

    def made(job: Job) -> Made:
        return (make(job), None) if stream is None else stream.make(make, job)

    def received(job: Job, future: Future[Made]) -> tuple[Job, Batch]:
        batch, event = future.result()
        if stream is not None and event is not None:
            stream.receive(batch, event)
        return job, batch

    with side_thread() as side:
        for job in jobs:
            waiting.append((job, side.submit(made, job)))
            if len(waiting) > AHEAD:
                yield received(*waiting.popleft())
    for one in waiting:
        yield received(*one)


@contextmanager
def side_thread() -> Iterator[ThreadPoolExecutor]:
    """Run one thread whose tensor code uses a single core; other threads keep their number of cores."""
    count = torch.get_num_threads()
    with ThreadPoolExecutor(1, THREAD) as side:
        side.submit(_take_one_core).result()
        torch.set_num_threads(count)  # this sets the number for all later threads of the process: restore it
        yield side


def _take_one_core() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes over its number at the first use


class SideStream:
    """A CUDA stream on which batches are made, and from which another one receives them; it keeps nothing of them."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Wait for the pending work of the current stream on the images."""
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))

    def make(self, make: Callable[[Job], Batch], job: Job) -> Made:
        """Queue the making of a batch, and give it with the event of its end; the host continues at once."""
        with torch.cuda.device(self.stream.device), torch.cuda.stream(self.stream):
            return make(job), self.stream.record_event()

    def receive(self, batch: Batch, event: torch.cuda.Event) -> None:
        """Let the current stream wait for a batch, and keep its memory until that stream has read it."""
        stream = torch.cuda.current_stream(self.stream.device)
        stream.wait_event(event)
        for part in batch:
            part.record_stream(stream)
