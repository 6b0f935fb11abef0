"""Start the toy program, and wait for what it does."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from preloaded import Forked

APP = Path(__file__).parent / "app.py"
T = TypeVar("T")
PATIENCE = 600.0
"""Seconds after which something hangs; a busy machine takes several times as long as an idle one."""


def start(folder: Path, *arguments: str) -> Forked:
    command = [sys.executable, str(APP), *arguments]
    return Forked(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def hold(folder: Path) -> Path:
    """Have runs that are started in ``folder`` stop after an epoch, until the file that this gives is removed."""
    path = folder / "hold"
    path.touch()
    return path


def alive(pid: int) -> bool:
    """A process that has ended and that nobody has waited for (a zombie) is not alive."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(found) and not found.startswith("Z")
