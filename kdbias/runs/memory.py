"""The most memory that a training took."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

GIB = 2**30
STATUS = Path("/proc/self/status")


def peak_memory(device: torch.device) -> dict[str, Any]:
    """Give ``{"gib": value, "of": kind}``, the most memory since the start of this process; on a GPU ``host_gib`` too.

    On a GPU (``of: gpu``) it is what tensors took there, as PyTorch's allocator counts it. Elsewhere (``of: process``)
    it is the resident memory of this process, with the data and Python itself; None if the system does not tell
    (Windows). ``host_gib`` is that memory on the host of a GPU. Other processes, such as those of a loader or of other
    ranks, do not count.
    """
    if device.type == "cuda":
        return {"gib": torch.cuda.max_memory_allocated(device) / GIB, "of": "gpu", "host_gib": _resident()}
    return {"gib": _resident(), "of": "process"}


def _resident() -> float | None:
    """The peak of this process in GiB; Linux's ``ru_maxrss`` would begin at the peak of the process that started it."""
    if STATUS.is_file():
        for row in STATUS.read_text(encoding="utf-8").splitlines():
            if row.startswith("VmHWM:"):
                return int(row.split()[1]) * 1024 / GIB
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
