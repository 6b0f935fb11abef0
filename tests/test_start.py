"""Settings that a process has from its start: what is set by hand stays."""

import os
import sys

import pytest

from kdbias import start


@pytest.fixture
def restarted(monkeypatch, tmp_path):
    """Give a function that starts with these variables and returns the new environment, None if nothing is started."""
    program = tmp_path / "train.py"
    program.touch()

    def begin(**variables: str) -> dict[str, str] | None:
        found = []
        monkeypatch.setattr(os, "environ", variables)
        monkeypatch.setattr(os, "execve", lambda program, words, environment: found.append(environment))
        monkeypatch.setattr(sys, "argv", [str(program)])
        monkeypatch.setattr(sys, "platform", "linux")
        start.tune_allocator()
        return found[0] if found else None

    return begin


def test_a_process_begins_again_once_with_its_settings(restarted):
    found = restarted(HOME="/root")
    assert found == {"HOME": "/root", **start.ALLOCATOR, **start.SPIN, "KDBIAS_ALLOCATOR": "1"}
    assert restarted(**found) is None
    assert restarted(KDBIAS_ALLOCATOR="0") is None


@pytest.mark.parametrize(
    ("given", "spin"),
    [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None), ({"MALLOC_TOP_PAD_": "1"}, "10000")],
)
def test_what_is_set_by_hand_stays(restarted, given, spin):
    found = restarted(**given)
    assert given.items() <= found.items()
    assert found.get("GOMP_SPINCOUNT") == spin
