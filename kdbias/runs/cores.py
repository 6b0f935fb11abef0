"""The cores of this machine, and the threads of runs that share them."""

from __future__ import annotations

import os


def cores() -> int:
    """Give how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(number: int, *, among_others: bool = False) -> dict[str, str]:
    """Give the variables with which a run has this many threads.

    Threads that wait for each other in a loop take the cores from the runs beside them (28 images/s in place of 220):
    ``among_others`` they sleep at once, whatever this process does itself. The result is the same.
    """
    asleep = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"} if among_others and number > 1 else {}
    return {"OMP_NUM_THREADS": str(number), "MKL_NUM_THREADS": str(number), **asleep}
