"""A study by its own command: a teacher and a student of two steps each; what is there is not trained again."""

import os
import subprocess
import sys
from pathlib import Path

import preloaded
import pytest
from config_base import composed

from kdbias.analysis import study as studies
from kdbias.analysis.tasks import run
from kdbias.runs import progress

ROOT = Path(__file__).parents[1]
STUDY = ["study=demo", "study.seeds=[0]", "~study.hypotheses", "~study.runs.control", "~study.probes"]


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KDBIAS_RUNS": str(folder / "runs"), "KDBIAS_ALLOCATOR": "0"}
    return preloaded.run([sys.executable, str(ROOT / "train.py"), *words], cwd=folder, env=environment, timeout=600)


def test_a_study_is_trained_once_and_its_status_and_page_are_made(tmp_path, capsys):
    first = command(tmp_path, "-m", *STUDY, "trainer=smoke")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "study demo: 2 runs with their teachers, 0 done already" in first.stdout
    study = studies.load(tmp_path / "runs" / "studies" / "demo")
    teacher, student = study.order
    assert teacher.label == "teacher demo_shape"
    assert all(one.done and progress.read(one.folder).done == 1 for one in study.order)
    assert (teacher.folder / "result.json").stat().st_mtime < (student.folder / "config.yaml").stat().st_mtime
    assert "not found under" not in student.log.read_text()  # it finds the teacher that the study has trained

    analyze = [f"paths.runs={tmp_path / 'runs'}", "trainer=cpu", *STUDY]
    run(composed(["task=status", *analyze], "analyze"))
    assert "2 done, 0 running, 0 failed, 0 left; nothing left to train" in capsys.readouterr().out
    run(composed(["task=report", *analyze], "analyze"))
    assert "no control beside" not in capsys.readouterr().out  # its groups have their controls
    assert "demo_kl" in (study.folder / "demo.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study=demo"], "a study is several runs: give -m as well"),
        (["-m", "study=nothing"], "study: there is no nothing: choose bias_transfer, demo"),
        (["-m", "study=demo", "seed=3"], "seed=3: a study decides this for each run: study.seeds=[0,1]"),
        (["-m", "study=demo", "experiment=baseline"], "experiment=baseline: a study decides this for each run"),
        (
            ["-m", "study=demo", "hydra.sweep.dir=x"],
            "in lanes of this machine (study.lanes=2) or by hydra/launcher",
        ),
        (["-m", "study=demo", "hydra/launcher=ray"], "its plugin is not installed: pip install hydra-ray-launcher"),
        (["-m", "study=demo", "study.seeds=3"], "study.seeds: must be a list of different seeds"),
        (["-m", "study=demo", "study.lane=3"], "study.lane: there is no such setting: did you mean study.lanes?"),
        (["-m", "study=demo", "study.overrides=5"], "study.overrides: must be a list of overrides, such as"),
        (["-m", "study=demo", "study.common=7"], "study.common: must be a list of overrides, such as"),
        (["-m", "study=demo", "study.hypotheses=x"], "study.hypotheses: must be NAME:"),
        (["-m", "study=demo", "study.name=mine"], "study.name: must be demo, as its yaml is called, got mine"),
        (["-m", "study=demo", "epoch=3"], "did you mean epochs"),
        (
            ["-m", "study=demo", "model.widht=3"],
            "model.widht: there is no such setting: did you mean model.width?",
        ),
        (["-m", "study=demo", "epochs=0"], "epochs: must be a whole number of at least 1"),
        (["-m", "study=demo", "study.seeds=[0]", "+study.hypotheses.x={says: y}"], "study.hypotheses.x: must say says"),
    ],
)
def test_a_mistake_in_the_command_of_a_study_is_one_error_and_leaves_nothing(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBIAS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDBIAS_ALLOCATOR", "0")
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    from kdbias import cli

    with pytest.raises(SystemExit) as caught:
        cli.train()
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
