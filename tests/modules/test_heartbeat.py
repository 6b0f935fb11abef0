"""Processes that watch each other: one that is stopped is noticed, and one that pauses with all others is not."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdbias.modules import heartbeat
from kdbias.modules.heartbeat import OVER, Heartbeat, Silence

WORKED, SILENT = 1.0, 2.0  # seconds


def test_silence_counts_rounds_without_a_change():
    silence = Silence(rounds=2)
    assert [silence.hear(1, sign) for sign in ("", "", "1", "1", "1", "1")] == [False, False, False, False, False, True]
    assert not any(silence.hear(2, OVER) for _ in range(9))


def test_one_process_watches_nobody():
    beat = Heartbeat(5.0)
    beat.setup(SimpleNamespace(world_size=1), None, "fit")
    beat.teardown(None, None, "fit")


def _member(rank: int, folder: Path, stopped: int, first: int, over: bool) -> None:
    """A rank of two that works until the others end it, or until it is over."""

    def broadcast(told):
        place = folder / "told"
        if rank == 0:
            place.with_suffix(".new").write_text(json.dumps(told))
            place.with_suffix(".new").rename(place)
        while not place.exists():
            time.sleep(0.01)
        return json.loads(place.read_text())

    environment = SimpleNamespace(main_address="127.0.0.1")
    strategy = SimpleNamespace(cluster_environment=environment, broadcast=broadcast, launcher=SimpleNamespace(procs=[]))
    trainer = SimpleNamespace(world_size=2, global_rank=rank, node_rank=0, strategy=strategy)
    heartbeat.INTERVAL, heartbeat.GRACE = 0.4, 1.0  # of this child alone
    beat = Heartbeat(SILENT)
    beat.setup(trainer, None, "fit")
    time.sleep(WORKED)
    if rank == stopped:
        os.kill(os.getpid(), signal.SIGSTOP)
    if over:
        beat.teardown(trainer, None, "fit")
        time.sleep(0 if rank else 2 * SILENT)
        os._exit(0)
    time.sleep(60)
    os._exit(0)


def _pair(folder: Path, stopped: int, over: bool = False) -> list[int]:
    pids = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            _member(rank, folder, stopped, os.getppid(), over)
        pids.append(pid)
    return pids


@pytest.mark.parametrize("stopped", [0, 1])
def test_who_is_left_of_a_stopped_process_ends_with_status_1(tmp_path, stopped):
    pids = _pair(tmp_path, stopped)
    began = time.monotonic()
    try:
        while not (found := os.waitpid(pids[1 - stopped], os.WNOHANG))[0]:
            assert time.monotonic() - began < 40
            time.sleep(0.05)
        assert os.waitstatus_to_exitcode(found[1]) == 1
        assert time.monotonic() - began > WORKED + SILENT
    finally:
        os.kill(pids[stopped], signal.SIGKILL)
        os.waitpid(pids[stopped], 0)


def test_who_is_through_is_not_missed(tmp_path):
    for pid in _pair(tmp_path, stopped=-1, over=True):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
