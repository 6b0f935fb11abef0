"""Processes that do not import the program that starts them."""

import subprocess
import sys

import pytest

from kdbias.data import processes
from kdbias.data.processes import context, is_of_main, without_main

SCRIPT = """
print("begun", flush=True)
import torch
from kdbias.batch import DataInfo
from kdbias.data.workers import WorkerLoader, Workers
info = DataInfo(1, 8, 2, ("a", "b"), 8, (0.5,), (0.5,))
images, labels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8).long()
settings = Workers(num_workers=1, start={start!r})
loader = WorkerLoader(images, labels, info=info, workers=settings, device=torch.device("cpu"), batch_size=4)
print(sum(len(batch.index) for batch in loader))
"""


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_a_script_without_a_guard_runs_once_with_loader_workers(tmp_path, start):
    (tmp_path / "script.py").write_text(SCRIPT.format(start=start))
    ran = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=600)
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["begun", "8"]), ran.stderr


@pytest.mark.parametrize("before", [{"__spec__": "a"}, {"__spec__": None}, {}])
def test_the_program_is_as_before_also_after_an_error(monkeypatch, before):
    main = type(sys)("__main__")
    vars(main).pop("__spec__")
    vars(main).update(before)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(KeyError, match="on purpose"), without_main():  # noqa: PT012
        assert main.__spec__.name == "__main__"
        raise KeyError("on purpose")
    assert {name: value for name, value in vars(main).items() if name == "__spec__"} == before


def test_a_forked_process_needs_nothing():
    assert type(context("fork")).__module__ == "multiprocessing.context"
    assert type(context("spawn")).__module__ == processes.__name__


def test_what_the_program_defines_is_told(monkeypatch):
    kind = type("Own", (), {})
    assert not is_of_main(kind())
    monkeypatch.setattr(kind, "__module__", "__main__")
    assert is_of_main(kind())
