"""``task=list``: each run is one line, the damaged ones too."""

import pytest
from omegaconf import OmegaConf

from kdbias.files import write_json
from kdbias.runs.listing import listing, runs_below
from kdbias.runs.progress import Progress
from kdbias.runs.run_folder import alone


def made(folder, *overrides, name="mine", seed=0, result=None, progress=None):
    folder.mkdir(parents=True)
    tree = {"name": name, "seed": seed, "chosen": {"data": "cues", "overrides": list(overrides)}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(tree)))
    if result is not None:
        write_json(folder / "result.json", result)
    if progress is not None:
        progress.write(folder)


@pytest.fixture
def runs(tmp_path):
    done = {"test": {"accuracy": 0.8125}, "stopped": None}
    made(tmp_path / "mine" / "first", "experiment=mine", result=done)
    for alpha in ("0.5", "0.9"):
        for seed in (0, 1):
            words = ("experiment=mine", f"seed={seed}", f"loss.alpha={alpha}", "epochs=3")
            made(tmp_path / "sweep" / f"{alpha}-{seed}", *words, seed=seed, result=done)
    return tmp_path


def test_a_run_is_one_line_with_what_is_swept(runs):
    assert [line.split() for line in listing(runs)] == [
        ["name", "seed", "accuracy", "state", "swept", "folder"],
        ["mine", "0", "81.2", "%", "finished", "-", "mine/first"],
        ["mine", "0", "81.2", "%", "finished", "loss.alpha=0.5", "sweep/0.5-0"],
        ["mine", "1", "81.2", "%", "finished", "loss.alpha=0.5", "sweep/0.5-1"],
        ["mine", "0", "81.2", "%", "finished", "loss.alpha=0.9", "sweep/0.9-0"],
        ["mine", "1", "81.2", "%", "finished", "loss.alpha=0.9", "sweep/0.9-1"],
    ]
    assert max(map(len, listing(runs))) <= 80


def test_two_teachers_beside_each_other_are_no_sweep(tmp_path):
    made(tmp_path / "teachers" / "one", "experiment=one", "paths.runs=/runs", name="one")
    made(tmp_path / "teachers" / "two", "experiment=two", name="two")
    assert [run.swept for run in runs_below(tmp_path)] == ["", ""]


@pytest.mark.parametrize(
    ("files", "accuracy", "state"),
    [
        ({}, "-", "not begun"),
        ({"progress": Progress(2, 9, 0.25)}, "25.0 % (val)", "epoch 2/9, interrupted"),
        ({"progress": Progress(2, 9, None)}, "-", "epoch 2/9, interrupted"),
        ({"result": {"test": {}, "stopped": "collapsed"}}, "-", "stopped: collapsed"),
        ({"result": {"test": {"accuracy": 1.0}}, "progress": Progress(9, 9, 0.5)}, "100.0 %", "finished"),
    ],
)
def test_the_state_is_said(tmp_path, files, accuracy, state):
    made(tmp_path / "run", **files)
    (found,) = runs_below(tmp_path)
    assert (found.accuracy, found.state) == (accuracy, state)
    with alone(tmp_path / "run"):  # by the process that trains it
        (found,) = runs_below(tmp_path)
    assert found.state == state.removesuffix(", interrupted")


@pytest.mark.parametrize("error", [PermissionError("of another user"), NotImplementedError("no locks here")])
def test_a_lock_that_cannot_be_tried_hides_no_run(tmp_path, monkeypatch, error):
    def refused(path):
        raise error

    monkeypatch.setattr("kdbias.files.is_held", refused)
    made(tmp_path / "run", progress=Progress(2, 9, None))
    assert [one.state for one in runs_below(tmp_path)] == ["epoch 2/9"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.yaml", "seed: [1"),
        ("config.yaml", ""),
        ("config.yaml", "a: ${oc.env:HOME}"),
        ("result.json", '{"test": '),
        ("result.json", "[1]"),
    ],
)
def test_a_damaged_run_is_one_line_after_the_others(runs, file, text):
    (runs / "mine" / "first" / file).write_text(text)
    lines = listing(runs)
    assert len(lines) == 6
    assert lines[-1].startswith("mine/first: damaged: ")


def test_a_name_cannot_steer_the_terminal(tmp_path):
    made(tmp_path / "run", name="a\x1b[2Jb")
    assert runs_below(tmp_path)[0].name == "a?[2Jb"


def test_no_runs_are_said(tmp_path):
    assert listing(tmp_path / "none") == [
        f"there are no runs in {tmp_path / 'none'}: paths.runs or KDBIAS_RUNS names another folder"
    ]


@pytest.mark.parametrize("words", [5, "epochs=3", {"epochs": 3}, [5, None]])
def test_overrides_of_another_type_and_an_accuracy_beyond_all_numbers_end_no_list(tmp_path, words):
    made(tmp_path / "one", result={"test": {"accuracy": 10**400}})
    tree = {"name": "mine", "seed": 0, "chosen": {"overrides": words}}
    (tmp_path / "one" / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(tree)))
    (run,) = runs_below(tmp_path)
    assert (run.name, run.accuracy, run.state) == ("mine", "-", "finished")
