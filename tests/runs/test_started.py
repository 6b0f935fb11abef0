"""Processes that torchrun or srun starts: one folder, and counts that agree."""

import pytest
from config_base import composed

from kdbias import cli
from kdbias.checks.early import plain_problems
from kdbias.config import conf
from kdbias.config.spec import plain
from kdbias.runs import started

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}
SRUN = {"SLURM_JOB_ID": "5", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "16"}


@pytest.fixture
def environment(monkeypatch):
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)

    def put(values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def found(trainer="ddp", devices=1, nodes=1):
    tree = {"trainer": {"devices": devices, "num_nodes": nodes}, "chosen": {"trainer": trainer}}
    return [str(problem) for problem in started.problems(tree)]


def test_a_run_that_nobody_else_starts_has_no_rules(environment):
    assert found(devices=4, nodes=2) == found(devices=-1) == []
    environment({"WORLD_SIZE": "4", "LOCAL_RANK": "1"})  # a process that a run has started for one of its devices
    assert found(devices=4) == []
    started.require_one_folder()


def test_slurm_outside_an_allocation_is_refused_with_the_command(environment):
    (line,) = found("slurm")
    assert line.startswith("trainer: slurm is for a task of an allocation, and this is none: srun --nodes=N")
    environment(SRUN)
    assert found("slurm", devices=8, nodes=2) == []


@pytest.mark.parametrize(("who", "values"), [("torchrun", TORCHRUN), ("srun", SRUN)])
def test_counts_that_disagree_are_refused(environment, who, values):
    environment(values)
    (line,) = found(devices=[0, 1, 2])
    assert line.startswith("trainer.devices: 3 on each of 1 nodes (trainer.num_nodes) are 3 processes")
    assert f"but {who} has started {started.by()[1]}: set both" in line
    assert found(devices=-1) == []
    assert found(devices=started.by()[1]) == []


def test_several_processes_must_be_told_their_folder(environment):
    environment(TORCHRUN)
    conf.register()
    with pytest.raises(SystemExit, match=r"torchrun has started 2 processes .* give hydra.run.dir=runs/NAME"):
        cli._run_dir(None, "runs", "baseline", "now")
    environment({"WORLD_SIZE": "1"})
    assert cli._run_dir(None, "runs", "baseline", "now") == "runs/baseline/now"


def test_the_trainers_of_several_machines_compose_and_ask_for_what_they_say(environment):
    conf.register()
    tree = plain(composed(["trainer=slurm", "trainer.num_nodes=2", "trainer.devices=8"]))
    assert (tree["trainer"]["strategy"], tree["trainer"]["sync_batchnorm"]) == ("ddp", True)
    assert plain_problems(tree) == []
    chosen = {**tree, "chosen": {"trainer": "slurm"}}
    assert [problem.key for problem in plain_problems(chosen)] == ["trainer"]
    environment(SRUN)
    assert plain_problems(chosen) == []
