"""Sweeps of tests/toy_run/app.py, which has the flow of a training run and nothing to train."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from toy_run.start import PATIENCE, alive, hold, run, start, wait_for

from kdbias.config.errors import ConfigError
from kdbias.runs.resuming import resumable, resumed
from kdbias.runs.run_folder import result
from kdbias.runs.sweep import job_name, quoted


def results(folder: Path) -> dict[str, float]:
    found = sorted(folder.glob("runs/sweep/*/result.json"))
    return {path.parent.name: json.loads(path.read_text())["objective"] for path in found}


def one(folder: Path, name: str):
    return next((path for path in folder.glob(f"runs/sweep/*/{name}") if path.read_text()), None)


def test_a_folder_is_named_by_what_is_swept_and_one_of_before_is_taken_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KDBIAS_SWEPT", '["seed"]')
    root = {"seed": 1, "hydra": {"sweep": {"dir": str(tmp_path)}}}
    name = job_name("experiment=a,seed=1,x=2", _root_=OmegaConf.create(root))
    assert re.fullmatch(r"seed-1-[0-9a-f]{8}", name)
    before = f"experiment-a_seed-1_x-2-{name[-8:]}"
    (tmp_path / before).mkdir()
    assert job_name("experiment=a,seed=1,x=2", _root_=OmegaConf.create(root)) == before
    assert job_name("experiment=a,seed=2,x=2", _root_=OmegaConf.create(root | {"seed": 2})).startswith("seed-2-")


def test_a_failed_job_does_not_stop_the_sweep_and_is_listed_at_its_end(tmp_path):
    sweep = ("-m", "fail=true,false", "x=2")
    status, output = run(tmp_path, *sweep)
    assert status == 1
    assert list(results(tmp_path).values()) == [3.0]
    head, *closing = output.split("sweep: 2 jobs, 1 failed\n")[1].splitlines()
    assert head.split()[:3] == ["state", "objective", "time"]
    assert [line.split(":")[0] for line in closing] == ["failed", "done"]
    log = Path(closing[0].split()[-1])
    assert log.parent.name.startswith("fail-True-")  # named by what is swept: x is 2 in both
    assert "this run was asked to fail" in log.read_text()
    assert "this run was asked to fail" in output

    status, output = run(tmp_path, *sweep)
    assert status == 1
    assert output.count("done already") == 2  # as it comes and in the closing list
    starts = sorted(tmp_path.glob("runs/sweep/*/starts.txt"))
    assert [path.read_text().split() for path in starts] == [["0"], ["0", "2"]]


def test_overrides_and_config_name_reach_the_job_as_they_are(tmp_path):
    text = "a, 'b' = {c} [d] $e \"f\""
    override = "text='" + text.replace("'", "\\'") + "'"
    status, output = run(tmp_path, "-m", "--config-name", "other", override, "x=1", f"paths.runs={tmp_path}/a,b=c")
    assert status != 0, "an unquoted comma is a sweep of its own for Hydra"
    folder = quoted(f"{tmp_path}/a,b=c 'd'")
    status, output = run(tmp_path, "-m", "--config-name", "other", override, "seed=1,2", f"paths.runs={folder}")
    assert status == 0, output
    found = [json.loads(path.read_text()) for path in tmp_path.glob("a,b=c 'd'/sweep/*/result.json")]
    assert [(job["objective"], job["text"]) for job in found] == [(15.0, text)] * 2


def test_killed_in_the_middle_and_repeated_it_ends_the_same(tmp_path):
    sweep = ("-m", "x=1,2", "epochs=6", "child=true")
    held = hold(tmp_path)
    process = start(tmp_path, *sweep)
    wait_for(lambda: one(tmp_path, "checkpoints/last.ckpt"))
    pids = [int(one(tmp_path, name).read_text()) for name in ("pid.txt", "child.txt")]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(map(alive, pids)))
    assert results(tmp_path) == {}

    held.unlink()
    status, output = run(tmp_path, *sweep)
    assert status == 0, output
    assert sorted(results(tmp_path).values()) == [x * (2 - 2**-5) for x in (1, 2)]
    first = one(tmp_path, "child.txt").with_name("starts.txt").read_text().split()
    assert first == ["0", "1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_sweep_ends_the_whole_group_of_its_job(tmp_path, number):
    process = start(tmp_path, "-m", "x=1,2", "pause=600", "child=true")
    wait_for(lambda: one(tmp_path, "pid.txt"))
    pids = [int(one(tmp_path, name).read_text()) for name in ("child.txt", "pid.txt")]
    assert all(map(alive, pids))
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    wait_for(lambda: not any(map(alive, pids)))
    assert len(list(tmp_path.glob("runs/sweep/*/job.log"))) == 1, output


def test_two_sweeps_at_once_do_each_job_once(tmp_path):
    sweeps = [start(tmp_path, "-m", "x=1,2", "pause=0.2") for _ in range(2)]
    output = [process.communicate(timeout=PATIENCE)[0] for process in sweeps]
    assert [process.returncode for process in sweeps] == [0, 0], output
    assert [path.read_text() for path in tmp_path.glob("runs/sweep/*/starts.txt")] == ["0\n"] * 2


def test_a_child_forgets_the_process_group_that_its_parent_was_in(tmp_path):
    code = (
        "import os; from kdbias.runs import process\n"
        'program = \'import os; print(sorted(k for k in os.environ if k in ("LOCAL_RANK", "KDBIAS_JOB")))\'\n'
        "process.run([os.sys.executable, '-c', program], log=None)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"LOCAL_RANK": "0"}, capture_output=True, text=True, check=True
    ).stdout
    assert output == "['KDBIAS_JOB']\n"


def test_job_names_are_safe_short_and_follow_overrides_and_spec():
    overrides = "experiment=cnn_to_vit/a,text='b c',loss=[ce,kl]," + "x=1," * 100
    one = OmegaConf.create({"seed": 0, "paths": {"run": "here"}})
    name = job_name(overrides, _root_=one)
    assert re.fullmatch(r"experiment-cnn_to_vit_a_text-_b_c_loss-_ce_kl_[A-Za-z0-9._-]+", name)
    assert len(name) <= 89
    assert job_name(overrides, _root_=OmegaConf.create({"seed": 0, "paths": {"run": "there"}})) == name
    assert job_name(overrides, _root_=OmegaConf.create({"seed": 1})) != name
    assert job_name(overrides + "y", _root_=one) != name
    assert re.fullmatch(r"job-[0-9a-f]{8}", job_name("", _root_=OmegaConf.create({"a": "${no.such.key}"})))


def test_jobs_that_differ_in_a_teacher_that_the_control_does_not_use_share_a_folder():
    one = "control=none,experiment=exp1_kl,seed=0,teacher=resnet20"
    other = "control=none,experiment=exp1_kl,seed=0,teacher.layers=[0,1],teacher=resnet56,~teacher.data"
    root = {"control": {"_target_": "kdbias.controls.none.NoTeacher"}, "teacher": {"name": "x"}}
    unused, used = OmegaConf.create(root), OmegaConf.create(root | {"control": None})
    assert job_name(one, _root_=unused) == job_name(other, _root_=unused)
    assert job_name(one, _root_=used) != job_name(other, _root_=used)
    assert job_name(one.replace("seed=0", "seed=1"), _root_=unused) != job_name(one, _root_=unused)
    assert job_name(one, _root_=unused).startswith("control-none_experiment-exp1_kl_seed-0-")


@pytest.mark.parametrize(
    "teacher",
    [
        "teacher=a",
        "~teacher",
        "++teacher.epochs=5",
        "teacher.layers=[0,1]",
        "+teacher.data={a:1,b:{c:[1,2],d:3}}",
        "+teacher.nested=[[0,1],[2,3]]",
        "teacher.weights='a,b \\'c\\''",
        'teacher.weights="a,b"',
        "teacher.weights=a\\,b",
        "teacher@teacher=b",
    ],
)
def test_a_teacher_that_is_not_used_counts_in_no_way_that_it_can_be_written(teacher):
    root = OmegaConf.create({"control": {"_target_": "kdbias.controls.none.NoTeacher"}, "teacher": {"name": "x"}})
    assert job_name(f"seed=1,{teacher},x=2", _root_=root) == job_name("seed=1,x=2", _root_=root)
    assert job_name(f"{teacher},x=2", _root_=root) == job_name("x=2", _root_=root)
    assert job_name(f"seed=1,{teacher}", _root_=root) == job_name("seed=1", _root_=root)


def test_words_of_another_setting_are_no_teacher():
    root = OmegaConf.create({"control": {"_target_": "kdbias.controls.none.NoTeacher"}, "teacher": {"name": "x"}})
    for one, other in (("text='a,teacher=b,'", "text='a,"), ("model.teacher=1", "y=1"), ("teacher_x=1", "y=1")):
        assert job_name(f"{one},x=2", _root_=root) != job_name(f"{other},x=2", _root_=root)


@pytest.mark.parametrize(
    ("control", "overrides", "name"),
    [
        (
            None,
            "experiment=a/b,loss=[ce,kl],teacher.layers=[0,1],seed=0",
            "experiment-a_b_loss-_ce_kl_teacher.layers-_0_1_seed-0-b7e073d5",
        ),
        (
            "kdbias.controls.none.NoTeacher",
            "control=none,seed=0,teacher.layers=[0,1],teacher=a,~teacher.data",
            "control-none_seed-0-316af827",
        ),
        ("kdbias.controls.self.Self", "+teacher.data={a:1,b:2},seed=3,teacher.weights='a,b'", "seed-3-b1003658"),
        ("kdbias.controls.none.NoTeacher", "teacher=a", "job-28bbe20b"),
    ],
)
def test_folders_of_sweeps_of_before_are_found_again(control, overrides, name):
    root = {"seed": 0, "control": control and {"_target_": control}, "teacher": {"name": "x"}}
    assert job_name(overrides, _root_=OmegaConf.create(root)) == name


@pytest.fixture
def stopped(tmp_path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    OmegaConf.save({"seed": 3, "trainer": {"devices": 1}, "resume": None}, tmp_path / "config.yaml")
    return tmp_path


def test_resume_alone_takes_the_saved_config(stopped):
    cfg = OmegaConf.create({"seed": 0, "resume": str(stopped)})
    assert resumed(cfg, [f"resume={stopped}"]) == {"seed": 3, "trainer": {"devices": 1}, "resume": str(stopped)}


def test_resume_with_the_same_spec_takes_the_new_config(stopped):
    cfg = OmegaConf.create({"seed": 3, "trainer": {"devices": 2}, "resume": str(stopped)})
    assert resumed(cfg, ["seed=3", "trainer.devices=2", f"resume={stopped}"]) is cfg


def test_resume_with_another_spec_names_the_keys(stopped):
    cfg = OmegaConf.create({"seed": 4, "trainer": {"devices": 1}, "resume": str(stopped)})
    with pytest.raises(ConfigError, match=r"resume=.*another config.*\n  seed: 3 -> 4$"):
        resumed(cfg, ["seed=4", f"resume={stopped}"])


def test_a_moved_run_writes_where_it_is_now(stopped, tmp_path):
    there = tmp_path / "there"
    best = {"_target_": "kdbias.callbacks.checkpoint.best", "folder": f"{there}/checkpoints"}
    saved = {"seed": 3, "paths": {"run": str(there), "runs": "/elsewhere"}, "callback": {"best": best}}
    OmegaConf.save(saved, stopped / "config.yaml")
    present = {"seed": 3, "resume": str(stopped), "paths": {"runs": "here", "run": None}}
    found = resumed(OmegaConf.create(present), [])
    assert found.paths == {"runs": "here", "run": str(stopped), "checkpoints": str(stopped / "checkpoints")}
    assert found.callback.best.folder == str(stopped / "checkpoints")


def test_a_sent_run_that_would_write_elsewhere_is_refused(stopped, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place in (str(elsewhere), "../x", f"{stopped}/../x"):
        best = {"_target_": "kdbias.callbacks.checkpoint.best", "folder": place}
        OmegaConf.save({"seed": 3, "callback": {"best": best}}, stopped / "config.yaml")
        for overrides in ([], ["seed=3"]):
            with pytest.raises(ConfigError, match=r"callback\.best\.folder is .*, out of the run folder"):
                resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), overrides)
    OmegaConf.save({"seed": 3}, stopped / "config.yaml")
    (stopped / "probes").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r"probes is a link to .*, out of the run folder: remove it"):
        resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), [])
    (stopped / "probes").unlink()
    (stopped / "probes").symlink_to(stopped / "checkpoints")  # within the folder
    assert resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), []).seed == 3


def test_a_sent_run_that_reads_the_environment_is_refused(stopped):
    (stopped / "config.yaml").write_text("seed: 3\nname: ${oc.env:HOME}\n")
    with pytest.raises(ConfigError, match="is an interpolation"):
        resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), [])
    assert not resumable(stopped, "key")


def test_a_sent_run_whose_teacher_is_trained_by_a_yaml_from_elsewhere_is_refused(stopped):
    OmegaConf.save({"seed": 3, "teacher": {"name": "a", "recipe": "../../evil"}}, stopped / "config.yaml")
    with pytest.raises(ConfigError, match=r"teacher\.recipe is '\.\./\.\./evil', which names no option"):
        resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), [])


def test_a_saved_config_downloads_nothing(stopped):
    data = {"_target_": "kdbias.data.mnist.mnist", "root": "/elsewhere", "download": True}
    OmegaConf.save({"seed": 3, "data": data, "teacher": {"data": {"download": True}}}, stopped / "config.yaml")
    found = resumed(OmegaConf.create({"seed": 3, "resume": str(stopped)}), [])
    assert (found.data.download, found.teacher.data.download) == (False, False)


@pytest.mark.parametrize("content", ['{"spec_hash": "k', "", "\x00\x00", "[1]", "3"])
def test_a_damaged_result_is_not_there_and_said_once(tmp_path, capsys, content):
    (tmp_path / "result.json").write_text(content)
    assert [result(tmp_path, "k") for _ in range(3)] == [None] * 3
    assert capsys.readouterr().out.count(f"{tmp_path / 'result.json'} is cut short or damaged") == 1


def test_resume_of_no_run_names_the_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"resume=.*config\.yaml is not there"):
        resumed(OmegaConf.create({"resume": str(tmp_path)}), ["resume=x"])
