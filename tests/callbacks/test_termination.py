"""SIGTERM in the middle of a training: status 143, no result, a checkpoint to go on from; all processes end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from preloaded import Forked
from toy_run.start import wait_for

from kdbias.callbacks.termination import Termination

PROGRAM = Path(__file__).resolve().parents[2] / "train.py"
COMMAND = ["experiment=demo_control", "trainer=cpu", "data.train=200", "data.val=40", "data.test=40", "epochs=5000"]
COMMAND += ["batch_size=20", "callback=[checkpoint,progress]", "model.depth=1", "model.width=24"]


SLURM = {"NTASKS": 1, "JOB_ID": 5, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NODELIST": "localhost", "JOB_NAME": "train"}


@pytest.mark.parametrize(("processes", "slurm"), [(1, {}), (2, {}), (1, SLURM)])
def test_a_terminated_run_says_so_and_ends_whole(tmp_path, processes, slurm):
    run = tmp_path / "run"
    devices = [f"trainer.devices={processes}", *(["trainer.strategy=ddp"] if processes > 1 else [])]
    environment = os.environ | {"KDBIAS_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1", "KDBIAS_ALLOCATOR": "0"}
    environment |= {f"SLURM_{name}": str(value) for name, value in slurm.items()}
    command = [sys.executable, str(PROGRAM), *COMMAND, *devices, f"hydra.run.dir={run}"]
    process = Forked(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: (run / "checkpoints" / "last.ckpt").is_file() or process.poll() is not None, seconds=120)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)  # to rank 0 alone
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, output
        assert time.monotonic() - began < 30
        wait_for(lambda: not _alive(process.pid), seconds=10)  # nobody of its group is left
        assert not (run / "result.json").exists()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


class Signals:
    """Gets SIGTERM while it is being deleted, where Python drops whatever a handler raises."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_an_exit_that_python_drops_comes_at_the_next_batch(monkeypatch):
    before, dropped = signal.getsignal(signal.SIGTERM), []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: dropped.append(caught.exc_type))
    termination, trainer = Termination(), SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    try:
        termination.on_train_start(trainer, None)
        termination.on_train_batch_start(trainer, None, None, 0)  # nobody has asked
        thing = Signals()
        del thing
        assert dropped == [SystemExit]
        for ask in (termination.on_train_batch_start, termination.on_validation_batch_start):
            with pytest.raises(SystemExit) as left:
                ask(trainer, None, None, 1)
            assert left.value.code == 143
    finally:
        signal.signal(signal.SIGTERM, before)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
