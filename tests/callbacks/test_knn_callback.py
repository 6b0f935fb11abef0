"""val/knn and val/linear: when they are measured, on which weights, and what a resumed run knows of them."""

import csv
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from training import Noise, quiet_trainer

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.checkpoint import best
from kdbias.callbacks.knn import FrozenFeatures
from kdbias.callbacks.progress import line
from kdbias.callbacks.summary import closing_table
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.models.deit import vit
from kdbias.probes.frozen import LOGGED


class Small(L.LightningModule):
    """A student with dropout, so that a random number drawn by anybody else shows in its weights."""

    def __init__(self, info):
        super().__init__()
        self.student = vit(info, width=16, depth=1, heads=2, patch=8, drop_path=0.5)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.student(batch.image).logits, batch.target)

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def train(info, folder, callbacks, epochs=5, resume=None, until=None):
    L.seed_everything(0, verbose=False)
    module = Small(info)
    light = Augment(erasing=0, mixup=0, cutmix=0)
    data = ImageData(Noise(info, told=True), light, batch_size=8, eval_batch_size=12, seed=0)
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=CSVLogger(folder, version="", name="csv"),
        enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.ModelCheckpoint) for c in callbacks),
        num_sanity_val_steps=1,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return module, data, trainer


def logged(folder, name="knn"):
    with (folder / "csv" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[f"val/{name}"]) for row in csv.DictReader(file) if row.get(f"val/{name}")}


def test_measured_before_in_the_first_epoch_every_so_many_and_at_the_end(tiny_info, tmp_path):
    callback = FrozenFeatures(every=3, linear_every=2, images=20, k=3)
    module, data, trainer = train(tiny_info, tmp_path, [callback])
    steps = {"knn": [0, 4, 12, 20], "linear": [0, 4, 8, 16, 20]}  # untrained, then after epochs of four steps
    for name, probe in (("knn", callback.probe), ("linear", callback.linear_probe)):
        values = logged(tmp_path, name)
        assert sorted(values) == steps[name]
        assert values[0] == callback.initial[name] == trainer.callback_metrics[f"val/{name}_initial"]
        after = probe(data, 32)(module.student, data.batches("val", limit=20))
        assert values[20] == after.scalars[name] == trainer.callback_metrics[f"val/{name}"]
    promised = callback.metrics | callback.metrics_where.keys()
    assert promised == set(LOGGED)  # the rows that a resumed run keeps
    assert {name for name in trainer.callback_metrics if name.endswith(("knn", "linear"))} == promised


def test_state_of_an_older_checkpoint_is_that_of_nearest_neighbours():
    callback = FrozenFeatures()
    callback.load_state_dict({"initial": 0.125, "latest": 0.25})
    assert callback.state_dict() == {"initial": {"knn": 0.125}, "latest": {"knn": 0.25}, "refused": {}}
    callback.load_state_dict({"initial": 0.125, "latest": None})
    assert callback.state_dict() == {"initial": {"knn": 0.125}, "latest": {}, "refused": {}}  # to be measured, not None
    again = FrozenFeatures()
    again.load_state_dict(callback.state_dict())
    assert again.state_dict() == callback.state_dict()


def test_training_is_the_same_with_and_without(tiny_info, tmp_path):
    with_it, _, trainer = train(tiny_info, tmp_path / "a", [FrozenFeatures(every=1, linear_every=1)], epochs=2)
    without, _, _ = train(tiny_info, tmp_path / "b", [], epochs=2)
    first, second = with_it.state_dict(), without.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert "val/linear" in trainer.callback_metrics


@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_are_measured(tiny_info, tmp_path, averaged_first):
    callback = FrozenFeatures(every=2, linear_every=2, k=3)
    callbacks = [EMA(begin=0.5, decay=0.9), callback]
    module, data, trainer = train(tiny_info, tmp_path, callbacks if averaged_first else callbacks[::-1], epochs=2)
    for name, probe in (("knn", callback.probe), ("linear", callback.linear_probe)):
        after = probe(data, 32)(module.student, data.batches("val"))  # the average is left in the student
        assert trainer.callback_metrics[f"val/{name}"] == pytest.approx(after.scalars[name])


@pytest.mark.parametrize("monitor", ["val/knn", "val/linear"])
def test_a_resumed_run_keeps_the_best_checkpoint_between_measurements(tiny_info, tmp_path, monitor):
    def callbacks():
        return [FrozenFeatures(every=4, linear_every=5, k=3), best(folder=str(tmp_path), monitor=monitor)]

    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / "stop.ckpt")
            trainer.should_stop = trainer.current_epoch == 1

    train(tiny_info, tmp_path, [*callbacks(), Stop()], epochs=6)
    first = {name: logged(tmp_path, name)[0] for name in ("knn", "linear")}
    resumed = callbacks()
    train(tiny_info, tmp_path / "on", resumed, epochs=6, resume=tmp_path / "stop.ckpt")
    assert resumed[0].initial == first
    assert sorted(logged(tmp_path / "on")) == [16, 24]  # epoch 3 has no new value
    assert sorted(logged(tmp_path / "on", "linear")) == [20, 24]
    assert resumed[1].best_model_score is not None


def test_a_terminal_shows_it():
    metrics = {"train/loss": torch.tensor(2.0), "val/knn": torch.tensor(0.25)}
    assert "val k-NN 0.2500" in line(1, 2, metrics, True, 1.0)
    metrics["val/linear"] = torch.tensor(0.5)
    assert "val k-NN 0.2500  val linear probe 0.5000" in line(1, 2, metrics, True, 1.0)
    assert "linear" not in line(1, 2, metrics, False, 1.0)
    rows = closing_table({"test": {"knn": 0.5, "linear": 0.625}, "stopped": "collapsed"})
    assert list(rows.columns[1].cells) == ["50.00 %", "62.50 %", "collapsed"]


def test_the_bank_is_no_larger_than_an_epoch(tiny_info):
    data = SimpleNamespace(info=tiny_info)
    callback = FrozenFeatures(bank=50, linear=None)
    for probe in (callback.probe, callback.linear_probe):
        assert probe(data, 1000).bank == 50
        assert probe(data, 8).bank == 8
    knn, linear = callback.final(data, 1000, prefix="test_")
    assert (knn.name, linear.name, knn.bank, linear.bank) == ("test_knn", "test_linear", 50, tiny_info.train)
    assert len(FrozenFeatures(linear=0).final(data, 1000)) == 1


def test_the_config_builds_the_callback():
    config = OmegaConf.merge({"probe_images": 7}, OmegaConf.load(f"{conf_dir()}/callback/knn.yaml"))
    callback = build(OmegaConf.to_container(config, resolve=True)["knn"])
    assert vars(callback) == vars(FrozenFeatures(images=7))


@pytest.mark.parametrize(
    ("key", "value"),
    [("every", 0), ("linear_every", 0), ("bank", 0), ("k", 0), ("temperature", 0.0), ("linear", -1)],
)
def test_bad_settings_are_named(key, value):
    with pytest.raises(ValueError, match=f"^{key}: "):
        FrozenFeatures(**{key: value})
