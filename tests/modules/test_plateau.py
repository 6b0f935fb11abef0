"""A plateau schedule under a trainer: it moves with validations alone, and a checkpoint has what it decided."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch.nn import functional as F
from training import quiet_trainer

from kdbias.callbacks.checkpoint import last
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.modules.manual import ManualSteps
from kdbias.modules.supervised import Supervised

SOURCE = cues(train=96, val=32, test=32)


class Level(Supervised):
    """Its accuracy never changes."""

    def training_step(self, batch, batch_idx):
        logits = self(batch.image)
        loss = F.cross_entropy(logits, batch.target)
        self.record(loss, {})
        self.train_accuracy.update(logits.detach(), batch.target)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/accuracy", 0.5)


class ByHand(ManualSteps, Level):
    adversary = None

    def training_step(self, batch, batch_idx):
        self.descend(super().training_step(batch, batch_idx))


class Rates(L.Callback):
    """Keep the learning rate of each epoch; end training in the middle of the epoch ``until``, as a crash would."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.found = until, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.found.append(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.current_epoch == self.until and batch_idx == 1:
            raise KeyboardInterrupt


def fit(kind, folder: Path, rates: Rates, epochs: int, monitor="val/accuracy", resume=None, every=1):
    L.seed_everything(0, verbose=False)
    data = ImageData(SOURCE, Augment(mixup=0, cutmix=0, erasing=0), batch_size=16, eval_batch_size=32, seed=0)
    schedule = {"_target_": "kdbias.modules.schedules.plateau", "monitor": monitor, "mode": "max", "patience": 0}
    optimizer = {"_target_": "kdbias.modules.optim.adamw", "lr": 1e-2, "weight_decay": 0.05}
    module = kind({
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
        "optim": {"optimizer": optimizer, "schedule": schedule, "clip": None},
        "data": data.info.to_dict(),
        "seed": 0,
        "channels_last": False,
    })  # fmt: skip
    trainer = quiet_trainer(
        max_epochs=epochs,
        check_val_every_n_epoch=every,
        callbacks=[rates, last(folder=str(folder))],
        enable_checkpointing=True,
        default_root_dir=folder,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        assert rates.until is not None
    return module


@pytest.mark.parametrize("kind", [Level, ByHand])
def test_epochs_without_a_validation_do_not_count(kind, tmp_path):
    rates = Rates()
    module = fit(kind, tmp_path, rates, epochs=6, every=2)  # validations after the epochs 1, 3 and 5
    assert rates.found == pytest.approx([1e-2] * 4 + [1e-3] * 2)
    assert module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize("kind", [Level, ByHand])
def test_a_run_resumed_where_the_rate_fell_goes_on_as_if_nothing_had_been(kind, tmp_path):
    whole, again = Rates(), Rates()
    expected = fit(kind, tmp_path / "whole", whole, epochs=4)
    fit(kind, tmp_path / "killed", Rates(until=2), epochs=4)
    found = fit(kind, tmp_path / "resumed", again, epochs=4, resume=tmp_path / "killed" / "last.ckpt")
    assert whole.found == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4])
    assert again.found == whole.found[2:]
    one, two = expected.state_dict(), found.state_dict()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("monitor", ["train/loss", "train/accuracy"])
def test_it_reads_what_the_same_epoch_logs_of_training(monitor, tmp_path):
    module = fit(Level, tmp_path, Rates(), epochs=1, monitor=monitor)
    (schedule,) = module.schedules()
    assert schedule.best == pytest.approx(float(module.trainer.callback_metrics[monitor]))
