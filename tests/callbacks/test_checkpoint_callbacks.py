import shutil

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import quiet_trainer

from kdbias.callbacks.averaging import EMA, SWA
from kdbias.callbacks.checkpoint import best, early_stopping, last

ACCURACY = [0.1, 0.5, 0.3, 0.4, 0.2]


class Toy(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.student = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.student(batch[0]).square().sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/accuracy", torch.tensor(ACCURACY[self.current_epoch]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Normed(Toy):
    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def fit(folder, *callbacks, epochs=5, resume=None, module=Toy, **settings):
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **settings,
        enable_checkpointing=True,
    )
    loader = DataLoader(TensorDataset(torch.randn(4, 2)), batch_size=2)
    trainer.fit(module(), loader, loader, ckpt_path=resume, weights_only=True)
    return trainer


def epoch(path):
    return torch.load(path, weights_only=True)["epoch"]


def epoch_state(path):
    return torch.load(path, weights_only=True)["callbacks"]


def test_best_is_the_best_and_last_the_last(tmp_path):
    keep = best(folder=str(tmp_path))
    fit(tmp_path, keep, last(folder=str(tmp_path)))
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (1, 4)
    assert float(keep.best_model_score) == pytest.approx(0.5)
    assert keep.best_model_path == str(tmp_path / "best.ckpt")


def test_a_resumed_run_remembers_its_best_and_keeps_the_names(tmp_path):
    fit(tmp_path, best(folder=str(tmp_path)), last(folder=str(tmp_path)), epochs=3)
    assert epoch(tmp_path / "last.ckpt") == 2
    keep = best(folder=str(tmp_path))
    fit(tmp_path, keep, last(folder=str(tmp_path)), resume=tmp_path / "last.ckpt")
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (1, 4)
    assert float(keep.best_model_score) == pytest.approx(0.5)


@pytest.mark.parametrize("place", [shutil.move, shutil.copytree])
@pytest.mark.parametrize("monitor", ["val/accuracy", None])
def test_a_moved_or_copied_run_remembers_its_best_and_leaves_the_old_folder(tmp_path, place, monitor):
    old, new = tmp_path / "old", tmp_path / "new"
    fit(tmp_path, best(folder=str(old), monitor=monitor), last(folder=str(old)), epochs=3)
    place(old, new)
    before = {path.name: path.stat().st_mtime_ns for path in old.glob("*")}
    keep, newest = best(folder=str(new), monitor=monitor), last(folder=str(new))
    fit(tmp_path, keep, newest, resume=new / "last.ckpt")
    assert sorted(path.name for path in new.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (epoch(new / "best.ckpt"), epoch(new / "last.ckpt")) == (5 if monitor is None else 1, 4)
    assert (keep.best_model_path, newest.best_model_path) == (str(new / "best.ckpt"), str(new / "last.ckpt"))
    assert monitor is None or float(keep.best_model_score) == pytest.approx(0.5)
    assert {path.name: path.stat().st_mtime_ns for path in old.glob("*")} == before


def test_a_run_that_moved_without_its_best_file_says_so_and_keeps_the_best_from_there_on(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fit(tmp_path, best(folder=str(old)), last(folder=str(old)), epochs=3)
    new.mkdir()
    shutil.copy(old / "last.ckpt", new)
    keep = best(folder=str(new))
    with pytest.warns(UserWarning, match=r"best\.ckpt has not been moved with its run"):
        fit(tmp_path, keep, last(folder=str(new)), resume=new / "last.ckpt")
    assert (epoch(new / "best.ckpt"), keep.best_model_path) == (3, str(new / "best.ckpt"))
    assert float(keep.best_model_score) == pytest.approx(0.4)


def test_without_a_metric_the_end_of_training_is_kept(tmp_path):
    keep = best(folder=str(tmp_path), monitor=None, mode="min")
    fit(tmp_path, keep, last(folder=str(tmp_path)), epochs=3)
    again = best(folder=str(tmp_path), monitor=None)
    trainer = fit(tmp_path, again, last(folder=str(tmp_path)), resume=tmp_path / "last.ckpt")
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    assert epoch(tmp_path / "last.ckpt") == 4
    saved = torch.load(again.best_model_path, weights_only=True)
    assert saved["global_step"] == 10
    assert torch.equal(saved["state_dict"]["student.weight"], trainer.lightning_module.student.weight)
    assert again.best_model_score is None


def test_a_last_average_has_its_statistics_without_a_last_validation(tmp_path):
    keep = best(folder=str(tmp_path), monitor=None)
    trainer = fit(tmp_path, SWA(begin=0.0, bn_batches=2), keep, module=Normed, check_val_every_n_epoch=2)
    saved = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    own = {f"student.{name}": value for name, value in trainer.lightning_module.student.state_dict().items()}
    assert all(torch.equal(saved[name], value) for name, value in own.items())
    assert saved["student.1.num_batches_tracked"] == 2  # computed anew of two batches


def test_early_stopping_needs_a_metric():
    with pytest.raises(ValueError, match=r"^monitor: it stops by a metric"):
        early_stopping(monitor=None)


def test_early_stopping_waits_for_its_patience(tmp_path):
    trainer = fit(tmp_path, early_stopping(patience=2), last(folder=str(tmp_path)))
    assert trainer.current_epoch == 4
    assert epoch(tmp_path / "last.ckpt") == 3


def test_a_run_that_early_stopping_ended_trains_no_more_when_it_is_resumed(tmp_path):
    fit(tmp_path, early_stopping(patience=2), last(folder=str(tmp_path)))
    again = fit(tmp_path, early_stopping(patience=2), last(folder=str(tmp_path)), resume=tmp_path / "last.ckpt")
    assert (again.current_epoch, again.global_step) == (4, 8)
    (state,) = (key for key in epoch_state(tmp_path / "last.ckpt") if "Stopping" in key)
    assert state.startswith("EarlyStopping{")  # as Lightning's own, so that older checkpoints are read


class Taught(Toy):
    """A student beside a loss term that learns, trained with an optimiser that has a state."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"spec": {"model": "toy"}})
        self.student, self.total = nn.Linear(64, 64), nn.Linear(64, 1)

    def training_step(self, batch, batch_idx):
        return self.total(self.student(batch[0].repeat(1, 32))).square().sum()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def values(content):
    """The number of floats in the tensors of what a file holds, each storage counted once."""
    left, storages = [content], {}
    while left:
        one = left.pop()
        if isinstance(one, torch.Tensor):
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes() // 4
        elif isinstance(one, dict | list | tuple):
            left.extend(one.values() if isinstance(one, dict) else one)
    return sum(storages.values())


WEIGHTS, TERM = 64 * 64 + 64, 64 + 1


@pytest.mark.parametrize("monitor", ["val/accuracy", None])
def test_best_holds_the_average_once_and_last_what_resume_needs(tmp_path, monitor):
    keep = best(folder=str(tmp_path), monitor=monitor)
    trainer = fit(tmp_path, EMA(begin=0.0), keep, last(folder=str(tmp_path)), module=Taught)
    found = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert values(found) == WEIGHTS
    assert {"epoch", "global_step", "hyper_parameters"} < found.keys()
    assert found["hyper_parameters"]["spec"] == {"model": "toy"}
    assert not {"optimizer_states", "callbacks", "loops", "current_model_state"} & found.keys()
    if monitor is None:
        assert torch.equal(found["state_dict"]["student.weight"], trainer.lightning_module.student.weight)
    whole = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert not torch.equal(whole["state_dict"]["student.weight"], whole["current_model_state"]["student.weight"])
    steps = 4  # of AdamW, one for each parameter
    assert values(whole) - steps <= 2 * WEIGHTS + TERM + 2 * (WEIGHTS + TERM) + 8
    assert "optimizer_states" in whole


def test_a_run_of_before_remembers_its_best(tmp_path):
    """Its last.ckpt says what was best under the name of Lightning's own callback."""
    keep = ModelCheckpoint(
        tmp_path, "best", monitor="val/accuracy", mode="max", save_top_k=1, enable_version_counter=False
    )
    fit(tmp_path, keep, last(folder=str(tmp_path)), epochs=3)
    again = best(folder=str(tmp_path))
    fit(tmp_path, again, last(folder=str(tmp_path)), resume=tmp_path / "last.ckpt")
    assert float(again.best_model_score) == pytest.approx(0.5)
    assert epoch(tmp_path / "best.ckpt") == 1
