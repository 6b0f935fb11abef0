"""The peak memory of a process."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from kdbias.runs import memory
from kdbias.runs.memory import GIB, peak_memory

CPU = torch.device("cpu")


def test_the_peak_of_a_process_is_in_gib_and_stays():
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    peak = peak_memory(CPU)
    assert peak["of"] == "process"
    assert peak["gib"] >= held.nbytes / GIB
    assert peak["gib"] == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, rel=0.5)
    del held
    assert peak_memory(CPU)["gib"] >= 0.99 * peak["gib"]  # the kernel counts in steps


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd", 1024)])
def test_without_linux_it_comes_in_the_units_of_the_system(monkeypatch, platform, unit):
    monkeypatch.setattr(memory, "STATUS", Path("/no/such/file"))
    monkeypatch.setattr(sys, "platform", platform)
    expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    assert peak_memory(CPU)["gib"] == pytest.approx(expected, rel=0.01)


def test_a_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(memory, "STATUS", Path("/no/such/file"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert peak_memory(CPU) == {"gib": None, "of": "process"}


def test_on_a_gpu_the_memory_of_the_host_stands_beside_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * GIB)
    peak = peak_memory(torch.device("cuda"))
    assert (peak["gib"], peak["of"]) == (3.0, "gpu")
    assert peak["host_gib"] == pytest.approx(peak_memory(CPU)["gib"], rel=0.01)
