import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import quiet_trainer

from kdbias.callbacks.averaging import SWA
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
