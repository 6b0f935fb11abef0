"""Runs of a program that only pretends to train: what the lanes start, show, leave out and end."""

import json
import sys
import textwrap
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from toy_run.start import alive, wait_for

from kdbias.cli import conf_dir, register
from kdbias.runs import failure, parallel
from kdbias.runs.parallel import Run, RunFailed, planned, training_program

PROGRAM = """
    import json, os, sys, time
    from pathlib import Path
    given = dict(o.split("=", 1) for o in sys.argv[1:])
    folder = Path(given["hydra.run.dir"])
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    for epoch in range(2):
        said = {"done": epoch + 1, "epochs": 2, "accuracy": 0.6 + 0.01 * epoch}
        (folder / "progress.json").write_text(json.dumps(said))
        time.sleep(float(given.get("pause", 0)))
    if "wrong" in given:
        print("Traceback ...\\nan Error in a line that is none\\nSet HYDRA_FULL_ERROR=1", flush=True)
        if given["wrong"] == "said":
            said = {"kind": "ValueError", "text": "no such\\nthing"}
            (folder / "failure.json").write_text(json.dumps(said))
        sys.exit(3)
    (folder / "result.json").write_text(json.dumps({"spec_hash": given["key"]}))
"""


class Recorder:
    """A board that keeps what it is shown."""

    def __init__(self):
        self.shown = []

    def show(self, label, done, total, note=""):
        self.shown.append((label, done, total, note))


@pytest.fixture
def new(tmp_path, monkeypatch):
    script = tmp_path / "pretend.py"
    script.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.setattr(parallel, "training_program", lambda: [sys.executable, str(script)])

    def run(label, *overrides):
        return Run(label, (f"key={label}", *overrides), tmp_path / label, label, 2)

    return run


def test_what_is_done_is_not_trained_again_and_the_rest_is_shown(new):
    first, second = new("first"), new("second")
    first.folder.mkdir()
    (first.folder / "result.json").write_text(json.dumps({"spec_hash": "first"}))
    board = Recorder()
    parallel.train([first, second], lanes=2, board=board)
    assert not first.log.exists()
    assert second.done
    assert (second.folder / "threads").read_text() == "1"
    assert board.shown[0] == ("first", 2, 2, "")
    assert board.shown[-1] == ("second", 2, 2, "val accuracy 61 %")


def test_a_result_of_another_spec_is_not_a_result(new):
    run = new("first")
    run.folder.mkdir()
    (run.folder / "result.json").write_text(json.dumps({"spec_hash": "other"}))
    parallel.train([run], lanes=1, board=Recorder())
    assert run.done
    assert run.log.is_file()


def test_a_failed_run_names_its_error_and_its_log_and_ends_the_others(new):
    slow, wrong = new("slow", "pause=60"), new("wrong", "wrong=said", "pause=0.5")
    with pytest.raises(RunFailed, match=r"wrong failed \(exit status 3\): ValueError: no such thing") as caught:
        parallel.train([slow, wrong, new("later")], lanes=2, board=Recorder())
    assert str(wrong.log) in str(caught.value)
    assert not new("later").log.exists()
    pid = int((slow.folder / "pid").read_text())
    wait_for(lambda: not alive(pid))


def test_a_killed_run_is_named_by_its_last_line_and_an_old_reason_is_forgotten(new):
    run = new("wrong", "wrong=silent")
    run.folder.mkdir()
    (run.folder / "failure.json").write_text(json.dumps({"kind": "ValueError", "text": "of before"}))
    with pytest.raises(RunFailed, match=r"\(exit status 3\): Set HYDRA_FULL_ERROR=1\n"):
        parallel.train([run], lanes=1, board=Recorder())


@pytest.mark.parametrize("child", [True, False])
def test_the_first_failure_of_a_child_is_left_for_its_parent(tmp_path, monkeypatch, child):
    monkeypatch.delenv("KDBIAS_JOB", raising=False)
    if child:
        monkeypatch.setenv("KDBIAS_JOB", "1")
    for error in (KeyError("first"), RuntimeError("the other process is gone")):
        with pytest.raises(type(error)), failure.noted(tmp_path):
            raise error
    assert failure.reason(tmp_path) == ("KeyError: 'first'" if child else None)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"kind": 3}', "[" * 100_000])
def test_a_reason_that_is_damaged_is_none(tmp_path, text):
    (tmp_path / "failure.json").write_text(text)
    assert failure.reason(tmp_path) is None


def test_the_hash_and_the_folder_of_a_run_follow_its_config(tmp_path):
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        (run, tree), (same, _), (other, _) = (
            planned("control, seed 0", ["experiment=demo_control", *more], tmp_path)
            for more in ([], ["trainer.log_every=1"], ["seed=1"])
        )
    assert run.key == same.key != other.key
    assert run.folder == tmp_path / f"control-seed0-{run.key[:8]}"
    assert run.epochs == tree["epochs"]
    assert tree["chosen"] == {"data": "cues", "trainer": "auto", "overrides": ["experiment=demo_control"]}


def test_paths_are_expanded_in_the_hash_as_in_the_run_itself(tmp_path, monkeypatch):
    register()
    folder = tmp_path / "exported"
    folder.mkdir()
    file = folder / "network.safetensors"
    file.touch()
    monkeypatch.setenv("EXPORTED", str(folder))
    words = {
        "control.weights": ["experiment=exp1_resnet_kl", "control=self"],
        "loss.vlfkd.linguistic.weights": ["experiment=cnn_to_vit/vlfkd"],
    }
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        for key, typed in words.items():
            whole, _ = planned("one", [*typed, f"{key}={file}"], tmp_path)
            for path in (str(folder), "$EXPORTED", "$EXPORTED/network.safetensors"):
                run, _ = planned("one", [*typed, f"{key}={path}"], tmp_path)
                assert run.key == whole.key, (key, path)


def test_the_program_that_trains_lies_beside_this_one(tmp_path, monkeypatch):
    for name in ("kdbias-train", "train.py"):
        (tmp_path / name).touch()
        monkeypatch.setattr(sys, "argv", [str(tmp_path / "kdbias-analyze"), "task=demo"])
        assert training_program() == [sys.executable, str(tmp_path / name)]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "empty" / "analyze.py")])
    assert Path(training_program()[-1]).name == "kdbias-train"
