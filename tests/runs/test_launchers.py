"""Hydra's launchers: what is refused in one line, whose turn it is, and sweeps of tests/toy_run/app.py under each."""

import doctest
import json
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
from toy_run.start import alive, hold, run, start, wait_for

from kdbias.config.errors import ConfigError
from kdbias.files import lock
from kdbias.runs import launchers
from kdbias.runs.cores import cores
from kdbias.runs.launchers import of_launcher, place, require_launcher

PLUGINS = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("joblib", "'kdbias[launchers]'"),
        ("submitit_local", "'kdbias[launchers]'"),
        ("submitit_slurm", "'kdbias[launchers]'"),
        ("ray", "hydra-ray-launcher"),
    ],
)
def test_a_launcher_that_is_not_installed_is_one_line_with_its_remedy(name, install, monkeypatch):
    monkeypatch.setattr(launchers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        require_launcher(["seed=0,1", f"hydra/launcher={name}"])
    assert str(caught.value) == f"hydra/launcher={name}: its plugin is not installed: pip install {install}"


def test_slurm_without_slurm_and_several_tasks_are_refused(monkeypatch):
    monkeypatch.setattr(launchers, "find_spec", lambda _: True)
    monkeypatch.setattr(launchers.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="submitit_slurm: there is no sbatch here: give the command on a login node"):
        require_launcher(["hydra/launcher=submitit_slurm"])
    monkeypatch.setattr(launchers.shutil, "which", lambda _: "/bin/sbatch")
    require_launcher(["hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=1"])
    with pytest.raises(ConfigError, match=r"tasks_per_node=4: .* trainer=ddp trainer\.devices=4"):
        require_launcher(["hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=4"])
    require_launcher(["hydra/launcher=basic"])


def test_words_of_a_launcher_are_told_from_others():
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "+hydra.launcher.setup=[a]"]
    assert all(map(of_launcher, words))
    assert not any(map(of_launcher, ["hydra.sweep.dir=x", "seed=1", "experiment=hydra"]))
    assert launchers.environment(words) == {launchers.STARTED_BY: str(os.getpid())}
    assert launchers.environment(["hydra/launcher=submitit_slurm"]) == launchers.environment(["seed=1"]) == {}
    assert doctest.testmod(launchers).failed == 0


def test_jobs_that_are_started_at_once_take_turns_and_share_the_cores(tmp_path):
    most, at_work, guard = [], [], threading.Lock()

    def job(number):
        with place("submitit_local", tmp_path, 2) as variables:
            with guard:
                at_work.append(number)
                most.append((len(at_work), variables["OMP_NUM_THREADS"]))
            threading.Event().wait(0.05)
            with guard:
                at_work.remove(number)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(most) == 5
    assert {share for _, share in most} == {str(max(1, cores() // 2))}
    assert max(count for count, _ in most) <= 2


def test_an_allocation_says_the_threads_and_other_launchers_say_none(tmp_path, monkeypatch):
    with place("joblib", tmp_path, 2) as variables:
        assert variables == {}
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    with place("submitit_slurm", tmp_path, 2) as variables:
        assert variables["OMP_NUM_THREADS"] == "6"
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_waits_for_its_turn_ends_when_its_sweep_is_gone(tmp_path, monkeypatch):
    held = lock(tmp_path / ".lane-0")
    held.acquire()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv(launchers.STARTED_BY, str(gone.pid))
    with pytest.raises(SystemExit, match="is gone: the same command goes on"), place("submitit_local", tmp_path, 1):
        pass
    monkeypatch.setenv(launchers.STARTED_BY, str(os.getpid()))
    launchers.end_with_launcher()


def installed(name):
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{PLUGINS[name]}") is None:
        pytest.skip(f"hydra/launcher={name} is not installed: pip install 'kdbias[launchers]'")


@pytest.mark.parametrize("name", PLUGINS)
def test_a_sweep_trains_each_job_once_lists_what_failed_and_goes_on(name, tmp_path):
    installed(name)
    words = ("-m", "fail=true,false", "teacher=strong", f"hydra/launcher={name}")
    status, output = run(tmp_path, *words)
    assert status == 1, output
    assert "sweep: 2 jobs, 1 failed" in output
    (teacher,) = tmp_path.glob("runs/teachers/*/starts.txt")
    assert teacher.read_text() == "0\n"  # both jobs need it
    status, output = run(tmp_path, *words)
    assert status == 1, output
    starts = sorted(path.read_text().split() for path in tmp_path.glob("runs/sweep/*/starts.txt"))
    assert starts == [["0"], ["0", "2"]], output
    assert "1 failed" in output


@pytest.mark.parametrize("name", PLUGINS)
def test_a_sweep_that_is_terminated_leaves_no_run_behind(name, tmp_path):
    installed(name)
    hold(tmp_path)
    process = start(tmp_path, "-m", "seed=0", f"hydra/launcher={name}")
    pid = wait_for(lambda: next((path for path in tmp_path.glob("runs/sweep/*/pid.txt") if path.read_text()), None))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    wait_for(lambda: not alive(int(pid.read_text())), 60)
    assert json.loads((pid.parent / "checkpoints" / "last.ckpt").read_text())[1] >= 1
    assert not (pid.parent / "result.json").exists()
