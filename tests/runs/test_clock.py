"""Times that are left, of a run and of a sweep, and lines that come at intervals."""

import doctest
import json

import pytest

from kdbias.runs import board, clock, sweep, sweep_progress
from kdbias.runs.board import BoardLines
from kdbias.runs.clock import Pace, Pulse
from kdbias.runs.progress import Progress
from kdbias.runs.sweep_progress import JOBS, Watch, of_job


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_rest_takes_as_long_as_what_was_done_since_the_start():
    now = Clock()
    pace = Pace(10, 4, clock=now)  # resumed after four of ten
    assert pace.left(4) is None
    now.now = 6.0
    assert pace.left(6) == pytest.approx(12)
    assert pace.left(10) == 0


def test_a_pulse_says_nothing_at_first_and_then_one_line_a_period():
    now, said = Clock(), []
    pulse = Pulse(said.append, 30, now)
    for second in range(100):
        now.now = float(second)
        pulse.beat(lambda: str(int(now.now)))
    assert said == ["30", "60", "90"]


def test_lines_of_a_board_say_what_all_tasks_still_take(capsys):
    with BoardLines(8) as lines:
        lines.show("student", 2, 4)  # done before: no pace yet
        lines.show("student", 4, 4, "val accuracy 40 %")
        lines.show("control", 4, 4)
    first, second, last = capsys.readouterr().out.splitlines()
    assert "left" not in first
    assert "student: 4/4  val accuracy 40 %, all: " in second
    assert second.endswith(" left")
    assert "left" not in last


def test_tasks_that_were_done_before_are_no_pace(capsys, monkeypatch):
    now = Clock()
    monkeypatch.setattr(board, "Pace", lambda steps: Pace(steps, clock=now))
    with BoardLines(1000) as lines:
        for number in range(9):
            lines.show(f"seed {number}", 100, 100)
        lines.show("seed 9", 0, 100)
        now.now = 2.0
        lines.show("seed 9", 1, 100)
    *before, last = capsys.readouterr().out.splitlines()
    assert not any("left" in line for line in before)
    assert last.endswith("all: 3 min left")  # 99 epochs of 2 s


def test_a_job_says_how_far_it_is_and_what_the_sweep_still_takes(tmp_path, monkeypatch, capsys):
    record = tmp_path / "jobs.jsonl"
    done = [{"state": "done", "seconds": 100.0}, {"state": "done already", "seconds": 0.1}]
    record.write_text("".join(f"{json.dumps(one)}\n" for one in done))
    monkeypatch.setenv(JOBS, "4")
    monkeypatch.setattr(sweep_progress, "in_terminal", lambda: False)
    now = Clock()
    with of_job(tmp_path, 2, str(record)) as watch:
        watch._pulse = Pulse(clock=now)
        watch.look()  # it has not begun
        Progress(0, 10, None).write(tmp_path)
        watch.look()
        watch._pace = Pace(10, 0, clock=now)
        now.now = 40.0
        Progress(4, 10, 0.5).write(tmp_path)
        watch.look()
    # 60 s of this job, and one more of 100 s, the mean of 100 and 100
    assert capsys.readouterr().out == "job 3/4: epoch 4/10  val accuracy 50 %, 60 s left, of the sweep 3 min\n"


def test_a_teacher_is_no_sweep(tmp_path):
    watch = Watch("teacher", tmp_path)
    assert watch.note(Progress(1, 2, None), 5.0, 5.0) == "5 s left"


@pytest.mark.parametrize("module", [clock, sweep_progress, sweep])
def test_the_examples_of_the_docstrings(module):
    assert doctest.testmod(module).failed == 0
