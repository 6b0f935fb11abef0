"""Two gloo processes of which one is stopped or killed before they have met: the other ends soon, with status 1."""

import os
import signal
import socket
import time
from datetime import timedelta

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from kdbias.modules import meeting
from kdbias.modules.heartbeat import Heartbeat
from kdbias.modules.meeting import FIRST, Meeting
from kdbias.modules.trainer import trainer

PATIENT = 30.0  # seconds of a store that waits for a process: without a bound, the other still waits after them


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def comes(rank, port, first, over, timeout):
    """A rank of two that looks for the other one; status 0 if they have met and a little time has passed."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    if first is not None:
        os.environ[FIRST] = str(first)
    strategy = DDPStrategy(
        CPUAccelerator(),
        [torch.device("cpu")] * 2,
        LightningEnvironment(),
        process_group_backend="gloo",
        timeout=timedelta(seconds=PATIENT),
    )
    met = Meeting(timeout, start=0.0)
    met.attach(strategy)
    strategy.setup_environment()
    if over:
        Heartbeat(5.0, met).on_exception(None, None, RuntimeError())
    time.sleep(timeout + 1)
    os._exit(0)


def forked(*arguments):
    pid = os.fork()
    if pid == 0:
        comes(*arguments)
    return pid


def ends(pid, within):
    """Give the exit status of a child, None if it still runs after ``within`` seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


@pytest.mark.parametrize("rank", [0, 1])
def test_who_waits_for_a_process_that_does_not_come_ends(rank, port, capfd):
    assert ends(forked(rank, port, None, False, 1.0), 15) == 1
    assert "the others have not come within 1 s (trainer.timeout=1" in capfd.readouterr().err


def test_processes_that_meet_go_on_and_one_that_is_lost_before_the_signs_of_life_is_missed(port):
    both = [forked(rank, port, None, rank == 0, 1.0) for rank in (0, 1)]  # rank 1 hears of no sign of life
    assert [ends(pid, 15) for pid in both] == [0, 1]


@pytest.mark.parametrize("early", [False, True])
def test_a_process_whose_first_one_is_gone_does_not_wait(early, port, capfd):
    first = os.fork()
    if first == 0:
        own = os.getpid()
        second = os.fork()
        if second == 0:
            while early and os.getppid() == own:  # it is gone before the second looks for it
                time.sleep(0.01)
            comes(1, port, own, False, 60.0)
        print(second, flush=True)
        time.sleep(0 if early else 0.5)
        os._exit(0)
    os.waitpid(first, 0)
    second = int(capfd.readouterr().out)
    end = time.monotonic() + 15
    while _runs(second):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "the process that started it is gone" in capfd.readouterr().err


def test_a_stopped_first_process_is_killed_by_the_one_that_it_started(port):
    first = os.fork()
    if first == 0:
        forked(1, port, os.getpid(), False, 1.0)
        os.kill(os.getpid(), signal.SIGSTOP)
    assert ends(first, 15) == -signal.SIGKILL


def test_a_run_of_several_processes_has_a_meeting_and_one_of_one_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv(FIRST, "0")
    settings = {"run": str(tmp_path), "epochs": 1, "callbacks": [], "loggers": [], "accelerator": "cpu"}
    two = trainer(**settings, devices=2, strategy="ddp", timeout=7)
    one = trainer(**settings)
    bound = two.strategy.setup_environment.func.__self__
    assert (bound.timeout, bound.start) == (7, meeting.START)
    assert os.environ[FIRST] == str(os.getpid())
    assert isinstance(one.strategy, SingleDeviceStrategy)
    assert "setup_environment" not in vars(one.strategy)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
