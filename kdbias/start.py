"""What the commands do before anything else is imported: settings that a process has from its start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
SPIN = {"GOMP_SPINCOUNT": "10000"}
"""How often a thread of OpenMP looks for work before it sleeps.

Two threads, ``benchmarks/spin.py``: by default they train at half the speed or less beside other work, since threads
that wait keep the cores. Sleeping at once costs up to a quarter on an idle machine; this number costs nothing there.
"""


def tune_allocator() -> None:
    """Start this process again, once, with settings that keep large blocks and bound the spinning of threads (Linux).

    By default, glibc returns every tensor above 32 MB to the kernel and pays for its pages again. The settings take
    effect only if they are made before a process starts. A variable that is set stays, and ``OMP_WAIT_POLICY`` decides
    the spinning. ``KDBIAS_ALLOCATOR=0`` leaves the process alone.
    """
    again = sys.platform == "linux" and Path(sys.argv[0]).is_file()
    if not again or os.environ.get("KDBIAS_ALLOCATOR") is not None:
        return
    wanted = ALLOCATOR if "OMP_WAIT_POLICY" in os.environ else ALLOCATOR | SPIN
    settings = {key: value for key, value in wanted.items() if key not in os.environ}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings, "KDBIAS_ALLOCATOR": "1"})


def train() -> None:
    """``kdbias-train``: as ``kdbias.cli.train``, which is imported once the process has its settings."""
    tune_allocator()
    from kdbias.late import uncollected

    with uncollected():
        from kdbias import cli

    cli.train()


def analyze() -> None:
    """``kdbias-analyze``: as ``kdbias.cli.analyze``, which is imported once the process has its settings."""
    tune_allocator()
    from kdbias.late import uncollected

    with uncollected():
        from kdbias import cli

    cli.analyze()
