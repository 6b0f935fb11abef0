"""A refused command leaves no folder, a resumed run of another config is told by what was typed."""

import re

import pytest
from omegaconf import OmegaConf

from kdbias.cli import require_own_folder
from kdbias.config.errors import ConfigError, RunStopped
from kdbias.files import is_held, lock
from kdbias.runs.process import JOB
from kdbias.runs.resuming import resumed
from kdbias.runs.run_folder import alone, dropped_if_refused, trained_by_this_process
from kdbias.runs.started import RANKS


def begun(folder):
    """What Hydra writes before a program begins."""
    (folder / ".hydra").mkdir(parents=True)
    for name in ("config", "hydra", "overrides"):
        (folder / ".hydra" / f"{name}.yaml").write_text("a: 1")
    (folder / "train.log").touch()
    return folder


@pytest.mark.parametrize("error", [ConfigError("wrong"), RunStopped("the teacher failed")])
def test_a_refused_command_leaves_no_folder(tmp_path, error):
    folder = begun(tmp_path / "runs" / "mine" / "now")
    with pytest.raises(type(error)), dropped_if_refused(folder):
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("own", ["config.yaml", "checkpoints/last.ckpt", ".hydra/mine.yaml", "train.log"])
def test_a_folder_with_anything_else_stays_whole(tmp_path, own):
    folder = begun(tmp_path / "runs" / "mine" / "now")
    (folder / own).parent.mkdir(exist_ok=True)
    (folder / own).write_text("of a run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError), dropped_if_refused(folder):
        raise ConfigError("wrong")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folders_of_other_runs_stay(tmp_path):
    other, folder = begun(tmp_path / "runs" / "mine" / "before"), begun(tmp_path / "runs" / "mine" / "now")
    with pytest.raises(ConfigError), dropped_if_refused(folder):
        raise ConfigError("wrong")
    assert (other / "train.log").exists()
    assert not folder.exists()


@pytest.mark.parametrize("cause", ["job", "defect", "link"])
def test_what_somebody_reads_stays(tmp_path, monkeypatch, cause):
    folder = begun(tmp_path / "now")
    if cause == "job":  # the waiting process reads the log there
        monkeypatch.setenv("KDBIAS_JOB", "1")
    if cause == "link":
        (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ValueError), dropped_if_refused(tmp_path / "link" if cause == "link" else folder):
        raise ValueError("a defect") if cause == "defect" else ConfigError("wrong")
    assert (folder / ".hydra" / "config.yaml").exists()


def test_a_refused_command_leaves_its_lock_no_more_than_its_folder(tmp_path):
    folder = begun(tmp_path / "runs" / "mine" / "now")
    with pytest.raises(ConfigError), dropped_if_refused(folder), trained_by_this_process(folder):
        raise ConfigError("wrong")
    assert not list(tmp_path.iterdir())


def test_a_run_that_another_process_trains_is_refused_and_stays(tmp_path):
    folder = begun(tmp_path / "now")
    with (
        lock(folder / ".lock"),
        pytest.raises(ConfigError, match=r"now: another process trains the run in it: let that end"),
        dropped_if_refused(folder),
        trained_by_this_process(folder),
    ):
        pytest.fail("it trains the run")
    assert (folder / ".hydra" / "config.yaml").exists()
    with trained_by_this_process(folder):
        assert is_held(folder / ".lock")
    assert not is_held(folder / ".lock")


@pytest.mark.parametrize("variable", ["KDBIAS_JOB", "LOCAL_RANK", "RANK", "SLURM_PROCID"])
def test_jobs_and_further_processes_of_a_run_take_no_lock(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with lock(tmp_path / ".lock"), trained_by_this_process(tmp_path):
        pass


def test_a_run_goes_on_where_nothing_can_be_locked(tmp_path, monkeypatch, capsys):
    def acquire(*_, **__):
        raise NotImplementedError("no flock")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with trained_by_this_process(tmp_path):
        pass
    assert "cannot be locked (no flock): let no other process train this run" in capsys.readouterr().out


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "config.yaml").write_text("{epochs: 1, seed: 0, model: {width: 8, depth: 2}, trainer: {devices: 1}}")
    return folder


NOW = {"epochs": 8, "seed": 0, "model": {"width": 64, "depth": 4}, "trainer": {"devices": 1}}


@pytest.mark.parametrize(
    ("typed", "listed"),
    [
        (["epochs=8"], ["epochs: 1 -> 8"]),
        (["epochs=8", "seed=0"], ["epochs: 1 -> 8"]),
        (["model=large"], ["model.depth: 2 -> 4", "model.width: 8 -> 64"]),
        (["model.depth=4", "trainer=cpu"], ["model.depth: 2 -> 4"]),
        (["experiment=other"], ["epochs: 1 -> 8", "model.depth: 2 -> 4", "model.width: 8 -> 64"]),
    ],
)
def test_another_config_is_told_by_what_was_typed(saved, typed, listed):
    with pytest.raises(ConfigError) as error:
        resumed(OmegaConf.create({**NOW, "resume": str(saved)}), [f"resume={saved}", *typed])
    assert str(error.value).split("\n  ")[1:] == listed


def test_settings_that_nobody_typed_are_counted(saved):
    with pytest.raises(ConfigError, match="differs in 3 settings that it does not name: name the experiment"):
        resumed(OmegaConf.create({**NOW, "resume": str(saved)}), [f"resume={saved}", "seed=0"])


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("checkpoints/last.ckpt", "a run was begun in {run}: go on with it by resume={run}, choose another folder"),
        ("result.json", "a run has ended in {run}: choose another folder, or remove that one"),
        ("config.yaml", None),  # nothing of it would be lost
        (".hydra/config.yaml", None),
    ],
)
def test_a_new_run_does_not_replace_another_one(tmp_path, monkeypatch, there, said):
    """Its checkpoints and its result would be gone, and Hydra's files before any check."""
    others = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE", "SLURM_STEP_ID", "SLURM_NTASKS")
    for name in (*RANKS, *others, JOB, "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    run = tmp_path / "run"
    (run / there).parent.mkdir(parents=True)
    (run / there).write_text("{}")
    command = ["experiment=baseline", f"hydra.run.dir={run}"]
    if said is None:
        require_own_folder(command)
        return
    with pytest.raises(ConfigError, match=re.escape(f"hydra.run.dir: {said.format(run=run)}")):
        require_own_folder(command)
    require_own_folder([*command, f"resume={run}"])
    for name in (JOB, "LOCAL_RANK"):  # the process that started it decides; a later process of the same run
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            require_own_folder(command)
    for words in ([*command, "--cfg", "job"], ["-m", "seed=0,1", *command]):  # which train nothing there
        require_own_folder(words)
    with alone(run), pytest.raises(ConfigError, match=r"another process trains a run in .*: choose another folder"):
        require_own_folder(command)
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with alone(tmp_path / "new"):  # by the first process of the same run
        require_own_folder([f"hydra.run.dir={tmp_path / 'new'}"])
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir: a run"):  # all of torchrun's processes end
        require_own_folder(command)
    if "last" in there:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
        require_own_folder(command)
