"""Two and four gloo processes of which one is killed or stopped: the others end soon, and not with status 0."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tally import Clock, Tally

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["experiment=demo_control", "trainer=cpu", "data.train=200", "data.val=40", "data.test=40", "epochs=5000"]
COMMAND += ["batch_size=20", "callback=[checkpoint,progress]", "model.depth=1", "model.width=24", "model.heads=2"]
TIMEOUT = 10.0  # seconds, of trainer.timeout
LIMIT = 30.0  # seconds in which the others must end
LOADING = 40.0  # seconds that a process may import on a busy machine before it looks for the others
START = 60.0  # seconds longer that they wait before they have met, as kdbias.modules.meeting


def ranks(folder: Path, clock: Clock, seed: int = 0) -> list[Tally]:
    """Strike each rank once by SIGKILL and once by SIGSTOP, also before they have met, until the clock has run out."""
    draw = random.Random(seed)
    late = Tally("a process of several is killed or stopped")
    early = Tally("a process of two is killed or stopped before they have met")
    before = [(early, 2, rank, number) for number in (signal.SIGSTOP, signal.SIGKILL) for rank in (1, 0)]
    plan = [(late, 2, rank, number) for number in (signal.SIGKILL, signal.SIGSTOP) for rank in (0, 1)]
    plan += [(late, 4, draw.randrange(4), number) for number in (signal.SIGKILL, signal.SIGSTOP)]
    for tally, world, rank, number in [*before[:1], *plan, *before[1:]]:
        met = tally is late
        if clock.left() < (100 if met else 100 + START):
            continue
        began = time.monotonic()
        wrong = struck(folder / "ranks", world, rank, number, draw.uniform(0, 2), met)
        name = f"{number.name}, rank {'0' if rank == 0 else 'above 0'}, of {world}"
        tally.count(name, wrong, name)
        tally.seconds += time.monotonic() - began
    return [late, early]


def struck(folder: Path, world: int, rank: int, number: int, pause: float, met: bool = True) -> str | None:
    """Send a signal to a rank after its first checkpoint and ``pause`` seconds; say what is wrong, None if nothing.

    Without ``met`` it is sent ``pause`` seconds after the others were started, while they import.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = folder / "run"
    settings = [f"trainer.devices={world}", "trainer.strategy=ddp", f"trainer.timeout={TIMEOUT:g}"]
    environment = os.environ | {"KDBIAS_RUNS": str(folder), "OMP_NUM_THREADS": "1", "KDBIAS_ALLOCATOR": "0"}
    with (folder / "log").open("wb") as log:
        first = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *COMMAND, *settings, f"hydra.run.dir={run}"],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        if met and not _until(lambda: (run / "checkpoints" / "last.ckpt").is_file() or first.poll() is not None, 240):
            return "it writes no checkpoint"
        if not met and not _until(lambda: len(_members(first.pid)) == world or first.poll() is not None, 240):
            return "it starts no process"
        time.sleep(pause)
        children = _members(first.pid) - {first.pid}
        if len(children) != world - 1:
            return f"{len(children) + 1} processes are there: {(folder / 'log').read_text()[-300:]}"
        target = first.pid if rank == 0 else sorted(children)[rank - 1]
        others = (children | {first.pid}) - {target}
        os.kill(target, number)
        began = time.monotonic()
        limit = LIMIT if met else START + LIMIT + LOADING
        ended = _until(lambda: not (_running(first) & others), limit)
        if not ended:
            return f"others still run {limit:g} s later"
        if rank and first.wait(5) == 0:
            return "rank 0 ends with status 0"
        if rank == 0 and (not _until(lambda: first.poll() is not None, 5) or first.returncode == 0):
            return f"rank 0 has the status {first.poll()}"
        print(
            f"{world} processes, {signal.Signals(number).name} of rank {rank}: {time.monotonic() - began:.1f} s",
            flush=True,
        )
        return "a result was written" if (run / "result.json").exists() else None
    finally:
        for member in _members(first.pid):
            os.kill(member, signal.SIGKILL)
        first.wait()


def _running(first: subprocess.Popen[bytes]) -> set[int]:
    first.poll()
    return _members(first.pid)


def _members(group: int) -> set[int]:
    """The processes of a session that have not ended; zombies have."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == group and words[0] not in "ZX":
                found.add(int(place.name))
    return found


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
