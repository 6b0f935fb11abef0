"""A study by one of Hydra's launchers, whose runs only pretend to train: teachers first, each run once."""

import json
import os
import sys
import textwrap

import pytest
from omegaconf import OmegaConf

from kdbias.analysis import study as studies
from kdbias.analysis import study_launch
from kdbias.analysis.study import Study, StudyRun
from kdbias.config.errors import ConfigError
from kdbias.runs.parallel import Run

PROGRAM = """
    import json, sys
    from pathlib import Path
    given = dict(o.split("=", 1) for o in sys.argv[1:])
    folder = Path(given["hydra.run.dir"])
    with (Path(__file__).parent / "begun").open("a") as file:
        file.write(given["key"] + "\\n")
    (folder / "root").write_text(given["paths.runs"])
    if "wrong" in given:
        print("an error", flush=True)
        sys.exit(3)
    (folder / "result.json").write_text(json.dumps({"spec_hash": given["key"]}))
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    script = tmp_path / "pretend.py"
    script.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.setattr(study_launch, "program", lambda: [str(script)])
    monkeypatch.setattr(sys, "argv", ["train.py", "-m"])
    monkeypatch.setattr("kdbias.runs.process.POLL", 0.05)

    def run(name, *words):
        return Run(name, (f"key={name}", *words), tmp_path / "studies" / "runs" / f"{name}-x", name, 1)

    teacher, wrong = run("teacher"), run("wrong", "wrong=1")
    runs = [
        StudyRun("control", 0, run("control")),
        StudyRun("student", 0, run("student"), teacher),
        StudyRun("blocked", 0, run("blocked"), wrong),
    ]
    node = {
        "name": "toy",
        "question": "Is it done?",
        "seeds": [0],
        "runs": {one.group: {"experiment": "demo_kl"} for one in runs},
    }
    found = Study(node, (), tuple(runs), tmp_path / "studies" / "toy")
    studies.save(found)
    return found


def test_teachers_are_the_first_jobs_each_run_is_trained_once_and_a_failure_stops_only_what_needs_it(study, tmp_path):
    failed = study_launch.launch(study, ["hydra/launcher=basic"])
    reasons = {run.label: reason for run, reason in failed.items()}
    assert reasons == {"wrong": "Ended: exit status 3: an error", "blocked": "wrong, which it needs, failed"}
    begun = (tmp_path / "begun").read_text().split()
    assert sorted(begun[:2]) == ["teacher", "wrong"]
    assert sorted(begun[2:]) == ["control", "student"]
    assert {one.run.label: (one.run.folder / "root").read_text() for one in study.runs if one.group != "blocked"} == {
        "control": str(tmp_path),
        "student": str(tmp_path),
    }
    assert sys.argv == ["train.py", "-m"]
    assert study_launch.PROGRAM not in os.environ

    study_launch.launch(study, ["hydra/launcher=basic"])  # what failed is tried again
    assert (tmp_path / "begun").read_text().split()[4:] == ["wrong"]


def test_a_launcher_that_fails_by_itself_ends_the_study(study):
    with pytest.raises(SystemExit):
        study_launch.launch(study, ["hydra/launcher=basic", "hydra.launcher.nothing=1"])


def test_a_job_of_a_study_that_has_changed_since_says_so(study):
    record = study.folder / studies.RECORD
    kept = json.loads(record.read_text())
    record.write_text(json.dumps({**kept, "runs": kept["runs"][:1]}))
    with pytest.raises(ConfigError, match="has no run student-x any more: give the command of the study again"):
        study_launch.job(OmegaConf.create({"folder": str(study.folder), "run": "student-x"}))
