"""Ctrl-C: one line, status 130, no traceback; also through Lightning, which makes an exit of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from preloaded import Forked
from toy_run.start import wait_for

from kdbias.cli import AGAIN, _go_on
from kdbias.interrupted import STATUS, interruptible

PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
COMMAND = ["experiment=demo_control", "trainer=cpu", "data.train=200", "data.val=40", "data.test=40", "epochs=5000"]
COMMAND += ["batch_size=20", "callback=[checkpoint,progress]", "model.depth=1", "model.width=24"]


@pytest.fixture(autouse=True)
def _handler():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def ended(error: BaseException) -> int | str | None:
    with pytest.raises(SystemExit) as found, interruptible(lambda: "go on"):
        raise error
    return found.value.code


def as_lightning_does() -> SystemExit:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)
    except SystemExit as error:
        return error


@pytest.mark.parametrize("make", [KeyboardInterrupt, as_lightning_does])
def test_an_interrupt_is_one_line_with_how_to_go_on(make, capsys, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert ended(make()) == STATUS == 130
    assert capsys.readouterr().err == "\ninterrupted; go on\n"


def test_of_several_processes_the_first_says_it(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ended(KeyboardInterrupt()) == STATUS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [0, 1, "a mistake"])
def test_another_exit_stays_as_it_is(code, capsys):
    assert ended(SystemExit(code)) == code
    assert capsys.readouterr().err == ""


def test_a_run_goes_on_from_its_checkpoint_or_begins_again(tmp_path):
    assert "no checkpoint yet" in _go_on(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert _go_on(tmp_path) == f"go on with resume={tmp_path}"


@pytest.mark.parametrize("sweep", [False, True])
def test_a_training_that_is_interrupted_says_how_to_go_on(tmp_path, sweep):
    environment = os.environ | {"KDBIAS_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1", "KDBIAS_ALLOCATOR": "0"}
    command = [sys.executable, str(PROGRAM), *(["-m", "seed=0,1"] if sweep else []), *COMMAND]
    process = Forked(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: [*tmp_path.rglob("last.ckpt")] or process.poll() is not None, seconds=300)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == STATUS, errors
    said = errors.strip().splitlines()[-1]
    folder = next(iter(tmp_path.rglob("last.ckpt"))).parents[1]
    assert said == (f"interrupted; {AGAIN}" if sweep else f"interrupted; go on with resume={folder}")
    assert "Traceback" not in output + errors
