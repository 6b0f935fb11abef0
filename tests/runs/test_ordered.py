"""Runs that only pretend to train, in lanes, of which some need another first."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from toy_run.start import alive, wait_for

from kdbias.files import is_held
from kdbias.runs import failure, ordered, parallel, process
from kdbias.runs.cores import threads
from kdbias.runs.parallel import Run

PROGRAM = """
    import json, os, sys, time
    from pathlib import Path
    given = dict(o.split("=", 1) for o in sys.argv[1:])
    folder = Path(given["hydra.run.dir"])
    with (folder.parent / "begun").open("a") as file:
        file.write(given["key"] + "\\n")
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    if "answers" in given:
        while not Path(given["answers"]).exists():
            time.sleep(0.01)
    (folder / "progress.json").write_text('{"done": 0, "epochs": 1, "accuracy": null}')
    if "wait" in given:
        while not Path(given["wait"]).exists():
            time.sleep(0.01)
    if "wrong" in given:
        print("an error", flush=True)
        sys.exit(3)
    (folder / "result.json").write_text(json.dumps({"spec_hash": given["key"]}))
"""


class Board:
    """A board that keeps nothing."""

    def show(self, label, done, total, note=""):
        pass


@pytest.fixture
def new(tmp_path, monkeypatch):
    script = tmp_path / "pretend.py"
    script.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.setattr(parallel, "training_program", lambda: [sys.executable, str(script)])
    monkeypatch.setattr(parallel, "POLL", 0.02)

    def run(label, *overrides):
        return Run(label, (f"key={label}", *overrides), tmp_path / label, label, 1)

    return run


def begun(folder: Path) -> list[str]:
    return (folder / "begun").read_text().split()


def test_a_run_waits_for_the_one_it_needs_and_lanes_are_filled_meanwhile(new, tmp_path):
    teacher, student = new("teacher", f"wait={tmp_path / 'control' / 'result.json'}"), new("student")
    control = replace(new("control"), epochs=3)
    failed = ordered.train([student, control, teacher], {student: teacher}, lanes=2, board=Board())
    assert failed == {}
    assert begun(tmp_path)[-1] == "student"
    assert sorted(begun(tmp_path)) == ["control", "student", "teacher"]


def test_a_lane_does_not_wait_for_answers_that_another_run_makes(new, tmp_path):
    """The first makes them until the last has ended, and trains then; those that share them begin after that."""
    first = replace(new("first", f"answers={tmp_path / 'last' / 'result.json'}"), answers="a", epochs=9)
    sharing = [replace(new(name), answers="a", epochs=5) for name in ("second", "third")]
    last = replace(new("last"), answers="b")
    assert ordered.train([first, *sharing, last], {}, lanes=2, board=Board()) == {}
    assert sorted(begun(tmp_path)[:2]) == ["first", "last"]  # at once, so either may write its name first
    assert sorted(begun(tmp_path)[2:]) == ["second", "third"]


def test_a_teacher_alone_has_both_cores_and_others_wait_for_its_end(new, tmp_path, monkeypatch):
    monkeypatch.setattr(ordered, "cores", lambda: 2)
    teacher, student, control = new("teacher"), new("student"), new("control")
    assert ordered.train([control, student, teacher], {student: teacher}, lanes=2, board=Board()) == {}
    assert begun(tmp_path)[0] == "teacher"
    begin = min((folder / "pid").stat().st_mtime for folder in (student.folder, control.folder))
    assert (teacher.folder / "result.json").stat().st_mtime <= begin
    assert [(run.folder / "threads").read_text() for run in (teacher, student, control)] == ["2", "1", "1"]


def test_a_last_run_with_all_threads_sleeps_while_another_is_at_work():
    others = threads(2, among_others=True)
    assert (others["OMP_WAIT_POLICY"], others["GOMP_SPINCOUNT"]) == ("passive", "0")
    assert threads(1, among_others=True) == threads(1)
    assert threads(2) == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def test_times_of_runs_that_are_done_tell_those_of_runs_like_them(new):
    short, long, other = (replace(new(f"{name}, seed 0"), epochs=2) for name in "abc")
    again = replace(new("b, seed 1"), epochs=4, images=10)
    assert ordered.estimates([short, again], {}) == {short: 2, again: 40}
    found = ordered.estimates([short, long, other, again], {short: 20.0, long: 60.0})
    assert found == {short: 20, long: 60, other: 40, again: 1200}
    assert ordered.took(short) is None
    short.folder.mkdir()
    (short.folder / "result.json").write_text(json.dumps({"spec_hash": short.key, "seconds": 7}))
    assert ordered.took(short) == 7.0


def test_a_failure_stops_only_what_needs_it_and_stays_in_its_folder(new, tmp_path):
    wrong, blocked, other = new("wrong", "wrong=1"), new("blocked"), new("other")
    failed = ordered.train([wrong, blocked, other], {blocked: wrong}, lanes=1, board=Board())
    assert failed == {wrong: "exit status 3: an error", blocked: "wrong, which it needs, failed"}
    assert other.done
    assert not blocked.folder.exists()
    assert failure.reason(wrong.folder) == "Ended: exit status 3: an error"

    mended = Run("wrong", ("key=wrong",), wrong.folder, "wrong", 1)
    assert ordered.train([mended, blocked, other], {blocked: mended}, lanes=1, board=Board()) == {}
    assert begun(tmp_path) == ["wrong", "other", "wrong", "blocked"]
    assert failure.reason(wrong.folder) is None


def test_what_another_process_trains_is_waited_for_and_not_trained_again(new, tmp_path, capsys):
    teacher, student = new("teacher"), new("student", f"wait={tmp_path / 'go'}")
    control = new("control")
    held = ordered.taken(teacher.folder)
    assert held is not None
    assert is_held(teacher.folder / ".lock")

    class Other(Board):
        """Ends the other process's training once the control is done here."""

        def show(self, label, done, total, note=""):
            if label == "control" and held.is_locked:
                (teacher.folder / "result.json").write_text(json.dumps({"spec_hash": "teacher"}))
                (tmp_path / "go").touch()
                held.release()

    assert ordered.train([teacher, student, control], {student: teacher}, lanes=2, board=Other()) == {}
    assert begun(tmp_path) == ["control", "student"]
    assert "teacher: another process trains it" in capsys.readouterr().out
    assert not is_held(teacher.folder / ".lock")


def test_a_folder_that_leads_elsewhere_fails_alone(new, tmp_path):
    linked, other = new("linked"), new("other")
    linked.folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (linked.folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    failed = ordered.train([linked, other], {}, lanes=1, board=Board())
    assert list(failed) == [linked]
    assert "out of the run folder" in failed[linked]
    assert other.done


def test_two_names_of_one_folder_are_one_run(new):
    teacher, one, other = new("teacher"), new("one"), new("other")
    same = Run("same", one.overrides, one.folder, one.key, 1)
    order = ordered.needed_first([one, other, same], {one: teacher, other: teacher, same: teacher})
    assert [run.folder.name for run in order] == ["teacher", "one", "other"]


STUDY = """
    import sys
    from pathlib import Path
    from kdbias.runs import ordered, parallel
    from kdbias.runs.parallel import Run
    folder = Path(sys.argv[1])
    parallel.training_program = lambda: [sys.executable, str(folder / "pretend.py")]
    class Board:
        show = staticmethod(lambda *_: None)
    runs = [Run(name, (f"key={name}", f"wait={folder / 'go'}"), folder / name, name, 1) for name in "ab"]
    ordered.train(runs, {}, lanes=2, board=Board())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_study_leaves_no_process_and_no_lock(new, tmp_path, number):
    path = f"{Path(ordered.__file__).parents[2]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (tmp_path / "pretend.py").write_text(
        "from kdbias.runs import process\nprocess.end_with_parent()\n" + textwrap.dedent(PROGRAM)
    )
    script = [sys.executable, "-c", textwrap.dedent(STUDY), str(tmp_path)]
    study = subprocess.Popen(script, env={**os.environ, "PYTHONPATH": path})
    pids = [tmp_path / name / "pid" for name in "ab"]
    wait_for(lambda: all(pid.is_file() and pid.read_text() for pid in pids))
    assert is_held(tmp_path / "a" / ".lock")
    study.send_signal(number)
    study.wait(60)
    wait_for(lambda: not any(alive(int(pid.read_text())) for pid in pids))
    assert not is_held(tmp_path / "a" / ".lock")
    assert not (tmp_path / "a" / "result.json").exists()


def test_a_block_inside_another_keeps_the_handler_until_the_outer_ends():
    before = signal.getsignal(signal.SIGTERM)
    with process.terminable():
        with process.terminable():
            handler = signal.getsignal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is handler is not before
    assert signal.getsignal(signal.SIGTERM) is before
