"""Loggers of tracking services: one id a run, process 0 alone, and no error of a service in a training."""

import time

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from test_events import TREE
from torch.utils.data import DataLoader, TensorDataset
from training import quiet_trainer

from kdbias.checks import early_loggers
from kdbias.checks.command import require_command
from kdbias.checks.early_loggers import installed, logger_problems
from kdbias.config.errors import ConfigError
from kdbias.modules import events
from kdbias.modules.mlflow_logger import mlflow
from kdbias.modules.tracked import Tracked
from kdbias.modules.wandb_logger import wandb
from kdbias.runs.run_folder import require_own


class Diary(Tracked):
    """A service that keeps what it is told, and fails where it is told to."""

    service = "diary"

    def __init__(self, run, fails=""):
        super().__init__(str(run))
        self.fails, self.said = fails, []

    def _do(self, what, *told):
        self.said.append((what, *told))
        if what == self.fails:
            raise ConnectionError("no route\nto host")

    def open(self, tree, known):
        self._do("open", known)
        return known or f"id-of-{tree['name']}"

    def write(self, numbers, step):
        self._do("write", dict(numbers), step)

    def close(self, scores, step, success):
        self._do("close", dict(scores), step, success)


class Line(L.LightningModule):
    """One weight, three steps."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        self.log("train/loss_step", self.weight.sum())
        return (self.weight * batch[0]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(3, 1)))


def fitted(logger):
    logger.begin(TREE)
    trainer = quiet_trainer(logger=logger, max_epochs=1, log_every_n_steps=1)
    trainer.fit(Line())
    logger.end({"test/accuracy": 0.5}, trainer.global_step, success=True)
    return trainer


def test_a_run_is_opened_written_and_closed_with_its_scores(tmp_path, capsys):
    logger = Diary(tmp_path)
    fitted(logger)
    assert logger.said[0] == ("open", None)
    assert [(what, step) for what, _, step in logger.said[1:-1]] == [("write", 0), ("write", 1), ("write", 2)]
    assert logger.said[1][1]["train/loss_step"] == 1.0
    assert logger.said[-1] == ("close", {"test/accuracy": 0.5}, 3, True)
    assert "without it" not in capsys.readouterr().out


@pytest.mark.parametrize(("fails", "calls"), [("open", 1), ("write", 2), ("close", 5)])
def test_a_service_that_fails_at_any_time_ends_no_training_and_is_said_once(tmp_path, capsys, fails, calls):
    logger = Diary(tmp_path, fails)
    assert fitted(logger).global_step == 3
    assert len(logger.said) == calls  # nothing after the failure
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.startswith("logger.diary: could not ")]
    assert len(found) == 1
    assert found[0].endswith("(ConnectionError: no route to host): the run goes on without it")


def test_an_interrupt_is_no_failure_of_the_service(tmp_path):
    logger = Diary(tmp_path)
    logger.begin(TREE)

    def interrupted(*told):
        raise KeyboardInterrupt

    logger.write = interrupted
    with pytest.raises(KeyboardInterrupt):
        logger.log_metrics({"lr": 1.0}, 1)


def test_a_run_that_goes_on_has_the_id_that_it_had(tmp_path):
    first, second, other = Diary(tmp_path / "a"), Diary(tmp_path / "a"), Diary(tmp_path / "b")
    first.begin(TREE)
    first.finalize("failed")
    second.begin(TREE)
    other.begin(TREE)
    assert [one.said[0][1] for one in (first, second, other)] == [None, "id-of-first_try", None]
    assert first.said[-1] == ("close", {}, 0, False)
    first.log_metrics({"lr": 1.0}, 1)  # it is closed
    assert first.said[-1][0] == "close"


def test_a_run_whose_training_is_over_waits_for_its_test(tmp_path):
    logger = Diary(tmp_path)
    logger.log_metrics({"lr": 1.0}, 1)  # it has not begun
    logger.begin(TREE)
    logger.finalize("success")
    assert [what for what, *_ in logger.said] == ["open"]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = Diary(tmp_path)
    logger.begin(TREE)
    logger.log_metrics({"lr": 1.0}, 1)
    logger.end({}, 1, success=True)
    logger.finalize("failed")
    assert logger.said == []
    assert list(tmp_path.iterdir()) == []


def test_names_and_tags_are_those_of_tensorboard():
    given = events.hyper_parameters({**TREE, "control": {"kind": "shuffled"}})
    assert events.title(given, "run-7") == "first_try, seed 3 (run-7)"
    assert events.tags(given) == {
        "model": "vit",
        "data": "cues demo",
        "teacher": "resnet18",
        "control": "shuffled",
        "loss": "ce + kl",
    }
    assert "teacher" not in events.tags(events.hyper_parameters({**TREE, "teacher": {}}))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_one_line_before_anything_begins(tmp_path, monkeypatch, name):
    monkeypatch.setattr(early_loggers, "installed", lambda package: False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^logger\.{name}: needs {name}.*pip install 'kdbias\[{name}\]'"):
        require_command(["experiment=baseline", "data=cues", f"logger=[csv,{name}]"], "train")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_packages_name_is_no_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kdbias_mere_folder").mkdir()
    (tmp_path / "kdbias_package").mkdir()
    (tmp_path / "kdbias_package" / "__init__.py").touch()
    assert [installed(one) for one in ("kdbias_mere_folder", "kdbias_package", "kdbias_nowhere")] == [
        False,
        True,
        False,
    ]


def test_wandbs_link_to_its_own_log_is_no_reason_to_refuse_a_run_and_other_links_are(tmp_path):
    own = tmp_path / "run"
    outside = tmp_path / "core.log"
    outside.touch()
    for place in ("one/logs/debug-core.log", "one/logs/debug.log", "logs/debug-core.log", "two"):
        link = own / "wandb" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(outside)
        if place == "one/logs/debug-core.log":
            require_own(own)
            continue
        with pytest.raises(ConfigError, match="out of the run folder"):
            require_own(own)
        link.unlink()


def test_a_mode_that_wandb_does_not_have_is_refused(monkeypatch):
    monkeypatch.setattr(early_loggers, "installed", lambda package: True)
    node = {"_target_": "kdbias.modules.wandb_logger.wandb"}
    found = {mode: list(logger_problems({"logger": {"wandb": {**node, "mode": mode}}})) for mode in ("offline", "of")}
    assert found["offline"] == []
    assert [one.key for one in found["of"]] == ["logger.wandb.mode"]
    assert "WANDB_MODE" in found["of"][0].text


def test_wandb_has_one_run_with_names_and_scores(tmp_path):
    pytest.importorskip("wandb")
    for success in (False, True):
        logger = wandb(str(tmp_path))
        logger.begin(TREE)
        assert logger._session.name == f"first_try, seed 3 ({tmp_path.name})"
        assert (logger._session.group, logger._session.id) == ("first_try", logger.version)
        assert "teacher: resnet18" in logger._session.tags
        assert logger._session.config["temperature"] == "4"
        logger.log_metrics({"val/accuracy": 0.5}, 7)
        logger.end({"test/accuracy": 0.6}, 9, success=success)
    kept = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert {path.name for path in kept} == {f"run-{logger.version}.wandb"}
    told = (b"test/accuracy", b"0.6", b"val/accuracy", b"first_try, seed 3", b"teacher: resnet18")
    deadline = time.monotonic() + 30  # a process of wandb writes the file
    while not all(word in path.read_bytes() for path in kept for word in told):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_mlflow_has_one_run_with_names_and_scores(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    run = tmp_path / "run-7"
    run.mkdir()
    for success in (False, True):
        logger = mlflow(str(run), str(tmp_path))
        logger.begin(TREE)
        logger.log_metrics({"val/accuracy": 0.5, "loss/a=b": float("nan")}, 7)
        logger.end({"test/accuracy": 0.6}, 9, success=success)
        found = logger._client.get_run(logger.version)
        assert found.info.status == ("FINISHED" if success else "FAILED")
    (place,) = logger._client.search_experiments(filter_string="name = 'kdbias'")
    (only,) = logger._client.search_runs([place.experiment_id])
    assert only.info.run_name == "first_try, seed 3 (run-7)"
    assert only.data.metrics["test/accuracy"] == 0.6
    assert [one.step for one in logger._client.get_metric_history(logger.version, "val/accuracy")] == [7, 7]
    assert {"group": "first_try", "teacher": "resnet18"}.items() <= only.data.tags.items()
    expected = {"temperature": "4", "seed": "3", "loss.kl.temperature": "4.0", "optim.optimizer.lr": "0.001"}
    assert expected.items() <= only.data.params.items()


def test_a_server_of_mlflow_that_is_not_there_is_given_up_in_seconds(tmp_path, capsys):
    pytest.importorskip("mlflow")
    logger = mlflow(str(tmp_path), str(tmp_path / "runs"), uri="http://127.0.0.1:9")
    logger.begin(TREE)
    assert "logger.mlflow: could not begin (MlflowException" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
