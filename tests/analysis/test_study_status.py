"""How far a study is, and how it goes on."""

import json
from dataclasses import replace

import pytest
from omegaconf import OmegaConf
from toy_study import NODE, finished, toy, trained

from kdbias.analysis import study as studies
from kdbias.analysis import study_train
from kdbias.analysis.status import run_state, status_lines, study_of
from kdbias.runs import ordered
from kdbias.runs.progress import Progress


def test_status_counts_what_is_done_running_failed_and_left(tmp_path, capsys):
    study = toy(tmp_path)
    by_label = {one.label: one for one in study.order}
    finished(by_label["control, seed 0"], 0.4)
    failed, running = by_label["teacher small"], by_label["control, seed 1"]
    failed.folder.mkdir(parents=True)
    (failed.folder / "failure.json").write_text(json.dumps({"kind": "ValueError", "text": "no images"}))
    held = ordered.taken(running.folder)
    OmegaConf.save(OmegaConf.create({"a": 1}), running.folder / "config.yaml")
    (running.folder / "progress.json").write_text(json.dumps({"done": 1, "epochs": 4, "accuracy": 0.25}))
    states = {one.label: run_state(one).state for one in study.order}
    assert [states[label] for label in ("control, seed 0", "control, seed 1", "teacher small", "student, seed 0")] == [
        *("done", "running", "failed", "left")
    ]
    lines = status_lines(study)
    assert any("ValueError: no images" in line for line in lines)
    assert any(line.startswith("running") and "1/4" in line and "val accuracy 25 %" in line for line in lines)
    assert "7 runs with their teachers: 1 done, 1 running, 1 failed, 4 left; about" in lines[-2]
    assert lines[-1] == f"python train.py -m study=toy trainer=smoke paths.runs={tmp_path}"
    held.release()
    assert run_state(running).state == "left"


def test_time_left_follows_from_the_epochs_that_are_done(tmp_path):
    node = {**NODE, "lanes": 2}
    study = toy(tmp_path, node)
    assert "not known before an epoch is done" in status_lines(study)[-2]
    for one in study.runs[:2]:
        finished(one.run, 0.5)  # 3 s an epoch; 4 runs of 4 epochs and a teacher of 3 are left: 57 s in two lanes
    assert "about 28 s left in 2 lanes" in status_lines(study)[-2]
    trained(study)
    finished(study.runs[0].teacher, 0.9)
    assert "7 done, 0 running, 0 failed, 0 left; nothing left to train" in status_lines(study)[-1]


def test_a_run_that_was_resumed_takes_its_own_time_for_what_is_left(tmp_path):
    study = toy(tmp_path, {**NODE, "seeds": [0], "lanes": 1})
    run = study.runs[0].run
    run.folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({"a": 1}), run.folder / "config.yaml")  # written anew at each start
    Progress(2, 4, 0.25, 200.0).write(run.folder)
    held = ordered.taken(run.folder)
    assert run_state(run).seconds == 100
    (run.folder / "progress.json").write_text(json.dumps({"done": 2, "epochs": 4, "accuracy": 0.25}))
    assert run_state(run).seconds is None  # before the time was recorded
    held.release()


def test_an_interrupted_study_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ordered, "train", interrupted)
    with pytest.raises(SystemExit) as caught:
        study_train.train(toy(tmp_path))
    assert caught.value.code == 130
    assert "interrupted; go on with: python train.py -m study=toy trainer=smoke" in capsys.readouterr().out


def test_a_study_with_a_failed_run_ends_with_status_1_and_names_it(tmp_path, monkeypatch, capsys):
    study = toy(tmp_path)
    monkeypatch.setattr(ordered, "train", lambda runs, *_, **__: {runs[1]: "no images"})
    with pytest.raises(SystemExit) as caught:
        study_train.train(study)
    assert caught.value.code == 1
    said = capsys.readouterr().out
    assert "failed: student, seed 0: no images" in said
    assert "6 of 7 runs done" in said


def test_a_study_that_was_never_started_says_with_which_command_it_starts(tmp_path, monkeypatch, capsys):
    node = {**NODE, "name": "toy"}
    monkeypatch.setattr("kdbias.analysis.status.require_own_name", lambda node: None)
    monkeypatch.setattr("kdbias.analysis.study.plan", lambda node, words, root: toy(root, node))
    found = study_of({"study": node, "paths": {"runs": str(tmp_path)}})
    assert capsys.readouterr().out == f"study toy was never started under {tmp_path}: {found.again}\n"
    assert f"paths.runs={tmp_path}" in found.again


def test_files_of_weights_that_were_typed_at_the_start_are_no_change(tmp_path, capsys):
    own = {"student": {"experiment": "demo_kl", "overrides": ["teacher.model.weights=/w/cnn.safetensors"]}}
    node = {**NODE, "name": "toy", "cnn_weights": "/w/cnn.safetensors", "runs": {**NODE["runs"], **own}}
    studies.save(replace(toy(tmp_path, node), chosen=("study.cnn_weights=/w/cnn.safetensors",)))
    own = {"student": {"experiment": "demo_kl", "overrides": ["teacher.model.weights=null"]}}
    now = {**node, "cnn_weights": "null", "runs": {**NODE["runs"], **own}}
    study_of({"study": now, "paths": {"runs": str(tmp_path)}})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"seeds": [0]}, ""),
        ({"images": 7, "hypotheses": {}}, "study.hypotheses.gain, study.images"),
        ({"seeds": [0, 1, 2, 3]}, "study.seeds"),
    ],
)
def test_what_was_changed_since_a_study_was_started_is_named_and_not_shown(tmp_path, capsys, changes, said):
    started = toy(tmp_path, {**NODE, "name": "toy"})
    found = study_of({"study": {**NODE, "name": "toy", **changes}, "paths": {"runs": str(tmp_path)}})
    assert found.node == started.node
    text = f"study toy is shown as it was started. Different now: {said}.\nTo use these settings, start the study again"
    assert capsys.readouterr().out == (f"{text} with them: {found.again}\n" if said else "")
