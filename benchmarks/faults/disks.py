"""Disks that are full or read-only at every write of a run: nothing older is lost, and the error is one clear line.

Two ways. A file may have so many bytes and no more (RLIMIT_FSIZE: the kernel refuses the rest, as on a full disk), at
six levels. And the n-th file that is written cannot be finished (ENOSPC) or begun (EROFS), for every n.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warm
from kills import SMALL, VIT, content, different
from tally import Clock, Tally

LEVELS = (1, 300, 3_000, 10_000, 30_000, 60_000)
RUN = ["experiment=demo_control", *SMALL, *VIT, "hydra.run.dir=runs/one"]
LAST = Path("runs", "one", "checkpoints", "last.ckpt")


def disks(folder: Path, clock: Clock, most: int = 40) -> list[Tally]:
    """Resume a run that was stopped after its first epoch, under every fault; then without."""
    half, whole = folder / "half", folder / "whole"
    for place in (half, whole):
        shutil.rmtree(place, ignore_errors=True)
    status, said = _run(whole, None)
    assert status == 0, said
    expected = content(whole)
    _run(half, _stop_after_an_epoch)
    assert (half / LAST).is_file()
    assert not (half / "runs" / "one" / "result.json").exists()
    faults: dict[str, list[tuple[str, Callable[[], None]]]] = {
        "full disk, by the size of a file": [(f"{level} bytes", _limit(level)) for level in LEVELS],
        "full disk, at the n-th file": [(f"file {n}", _nth("fsync", n, errno.ENOSPC)) for n in range(1, most)],
        "read-only disk, from the n-th file on": [(f"file {n}", _nth("open", n, errno.EROFS)) for n in range(1, most)],
    }
    found = {kind: Tally(kind) for kind in faults}
    for turn in range(max(map(len, faults.values()))):  # in turns, so that each kind has its share of the time
        for kind, trials in faults.items():
            if turn >= len(trials) or clock.left() < 20:
                continue
            began = time.monotonic()
            name, fault = trials[turn]
            wrong, note = _tried(folder / "disk", half, fault, expected)
            if note == "no such file":
                trials.clear()
            else:
                found[kind].count(name, wrong, note)
            found[kind].seconds += time.monotonic() - began
    return list(found.values())


def _tried(place: Path, half: Path, fault: Callable[[], None], expected: dict[str, Any]) -> tuple[str | None, str]:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(half, place)
    before = set(content(place))
    status, said = _run(place, fault)
    if status == 0:
        return (different(expected, content(place)), "no such file")
    try:
        lost = before - set(content(place))
    except Exception as error:
        return f"a file is broken: {error}", "broken"
    if lost:
        return f"lost: {sorted(lost)}", "lost"
    clear = [
        line for line in said.splitlines() if any(word in line for word in ("File too large", "space", "Read-only"))
    ]
    if not clear:
        return f"nothing says why: {said[-200:]!r}", "unclear"
    status, said = _run(place, None)
    if status != 0:
        return f"does not go on: {said[-300:]!r}", "stuck"
    return different(expected, content(place)), "ended, said why, went on to the same result"


def _run(place: Path, before: Callable[[], None] | None) -> tuple[int, str]:
    """Run the command; its output goes through a process without a limit."""
    place.mkdir(parents=True, exist_ok=True)
    resume = ["resume=runs/one"] if (place / LAST).is_file() else []
    log = place / "log"
    log.unlink(missing_ok=True)
    with log.open("wb") as file:
        pipe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    assert pipe.stdin is not None
    command = ["python", str(warm.ROOT / "train.py"), *RUN, *resume]
    process = warm.Forked(command, stdout=pipe.stdin.fileno(), env=dict(os.environ), cwd=place, before=before)
    pipe.stdin.close()
    try:
        process.wait(warm.PATIENCE)
    except subprocess.TimeoutExpired:
        process.end()
        process.wait()
    pipe.wait()
    return process.returncode or 0, log.read_text(errors="replace")


def _limit(level: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (level, level))


def _nth(what: str, number: int, code: int) -> Callable[[], None]:
    """Patch the n-th ``os.fsync`` of a file, or every opening of a new file from the n-th on."""

    def patch() -> None:
        count = 0
        fsync, opened = os.fsync, Path.open

        def failing_sync(handle: int) -> None:
            nonlocal count
            count += os.path.isfile(f"/proc/self/fd/{handle}")
            if count == number and os.path.isfile(f"/proc/self/fd/{handle}"):
                raise OSError(code, os.strerror(code))
            fsync(handle)

        def failing_open(self: Path, mode: str = "r", *args: Any, **settings: Any) -> Any:
            nonlocal count
            count += "x" in mode
            if "x" in mode and count >= number:
                raise OSError(code, os.strerror(code), str(self))
            return opened(self, mode, *args, **settings)

        if what == "fsync":
            os.fsync = failing_sync
        else:
            Path.open = failing_open  # type: ignore[method-assign, assignment]

    return patch


def _stop_after_an_epoch() -> None:
    from kdbias.callbacks.progress import SaysProgress

    say = SaysProgress.on_train_epoch_start

    def stop(self: SaysProgress, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            os._exit(9)
        say(self, trainer, module)

    SaysProgress.on_train_epoch_start = stop  # type: ignore[method-assign]
