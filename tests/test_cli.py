"""What the two commands print where a run cannot go on."""

import sys
from subprocess import run

import pytest

from kdbias.cli import plain_errors
from kdbias.config.errors import ConfigError, RunStopped


@pytest.mark.parametrize("error", [ConfigError("epochs: must be above 0"), RunStopped("collapsed: rank below 2")])
def test_a_mistake_and_a_failed_training_end_with_their_message_alone(error):
    with pytest.raises(SystemExit) as ended, plain_errors():
        raise error
    assert ended.value.code == f"\n{error}"


def test_another_error_keeps_its_traceback():
    with pytest.raises(ValueError, match="a defect"), plain_errors():
        raise ValueError("a defect")


@pytest.mark.parametrize(
    ("program", "typed", "said"),
    [
        ("train", ["epochs=-3"], "epochs: must be a whole number of at least 1, got -3"),
        ("train", ["epoch=3"], "epoch: there is no such setting: did you mean epochs=3?"),
        ("analyze", ["probe=[attn]"], "probe: there is no attn: did you mean attention?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, program, typed, said):
    command = [sys.executable, "-c", f"from kdbias.cli import {program}; {program}()", *typed]
    found = run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (found.returncode, found.stdout, found.stderr.strip()) == (1, "", said)
    assert not list(tmp_path.iterdir())
