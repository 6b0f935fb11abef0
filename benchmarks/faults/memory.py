"""A run of 150 epochs, whose memory is flat from epoch 20 on."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import numpy as np
import warm
from tally import Clock, Tally

SMALL = ["experiment=demo_control", "trainer=cpu", "trainer.precision=32-true", "data.train=60", "data.val=20"]
SMALL += ["data.test=20", "batch_size=20", "callback=[checkpoint,ema,progress,throughput]", "logger=[csv]"]
SMALL += ["model.depth=1", "model.width=24", "model.heads=2"]
MOST = 0.05  # MiB that an epoch may add: over 1,000 epochs less than 50 MiB


def memory(folder: Path, clock: Clock, epochs: int = 150) -> list[Tally]:
    """Train, reading the memory of the process five times a second; fit a line through it from epoch 20 on."""
    tally = Tally(f"memory over {epochs} epochs")
    if clock.left() < 60:
        return [tally]
    began = time.monotonic()
    shutil.rmtree(folder / "memory", ignore_errors=True)
    place = folder / "memory"
    process = warm.start("train.py", [*SMALL, f"epochs={epochs}", "hydra.run.dir=run"], place, place / "log")
    seen: dict[int, float] = {}
    while process.poll() is None and clock.left() > 0:
        time.sleep(0.2)
        done = re.findall(r"^epoch (\d+)/", (place / "log").read_text(errors="replace"), re.M)
        if done and process.poll() is None:
            seen[int(done[-1])] = _resident(process.pid)
    process.end()
    status = process.wait()
    late = {epoch: size for epoch, size in seen.items() if epoch >= 20}
    slope = float(np.polyfit(list(late), list(late.values()), 1)[0]) if len(late) > 5 else float("nan")
    wrong = None if status == 0 and slope < MOST else f"status {status}, {slope:+.3f} MiB an epoch"
    end = max(seen, default=0)
    tally.count("memory", wrong, f"run of {end} epochs, {slope:+.4f} MiB an epoch from epoch 20 on")
    tally.seconds = time.monotonic() - began
    return [tally]


def _resident(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return float("nan")
    return pages * 4096 / 2**20
