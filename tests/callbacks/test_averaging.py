import shutil
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset
from training import quiet_trainer

from kdbias.callbacks.averaging import EMA, SWA
from kdbias.callbacks.checkpoint import last

STEPS = 4


class Toy(L.LightningModule):
    """A student with BatchNorm and dropout, and a head of a loss term that is not to be averaged."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        self.total = nn.Linear(2, 2)

    def on_train_batch_start(self, batch, batch_idx):
        torch.manual_seed(100 * self.current_epoch + batch_idx)

    def training_step(self, batch, batch_idx):
        return self.total(self.student(batch[0])).square().sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/accuracy", self.student(batch[0]).mean())

    def test_step(self, batch, batch_idx):
        self.tested = weights(self)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05, fused=True)


class Recorder(Callback):
    """Keeps the student's weights after each step and during validation."""

    def __init__(self):
        self.steps, self.starts, self.seen = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.starts.append(weights(pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(weights(pl_module))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.seen.append(weights(pl_module))


class Copies(Callback):
    """Copies last.ckpt at the start of each epoch, as an interruption would find it."""

    def on_train_epoch_start(self, trainer, pl_module):
        found = Path(trainer.default_root_dir) / "last.ckpt"
        if found.is_file():
            shutil.copy(found, found.with_name(f"after{trainer.current_epoch}.ckpt"))


def weights(module):
    return module.student[0].weight.detach().clone()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(4 * STEPS, 3, generator=generator))


def fit(folder, data, *callbacks, epochs=5, resume=None, accumulate=1, module=None):
    module = module or Toy()
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, Copies(), last(folder=str(folder))],
        enable_checkpointing=True,
    )
    loader = DataLoader(data, batch_size=4)
    trainer.fit(module, loader, DataLoader(data, batch_size=16), ckpt_path=resume, weights_only=True)
    return module, trainer


def load(path):
    return torch.load(path, weights_only=True)


def test_before_averaging_begins_everything_is_current(tmp_path, data):
    recorder = Recorder()
    fit(tmp_path, data, EMA(begin=0.8), recorder)
    for epoch in range(1, 5):
        checkpoint = load(tmp_path / f"after{epoch}.ckpt")
        assert "averaging_state" not in checkpoint
        assert torch.equal(recorder.seen[epoch - 1], recorder.steps[STEPS * epoch - 1])
        assert torch.equal(checkpoint["state_dict"]["student.0.weight"], recorder.steps[STEPS * epoch - 1])


def test_ema_is_the_moving_average_with_growing_decay(tmp_path, data):
    recorder, ema = Recorder(), EMA(decay=0.3, begin=0.6)
    module, _ = fit(tmp_path, data, ema, recorder)
    averaged = recorder.steps[3 * STEPS :]
    expected = averaged[0]
    for count, current in enumerate(averaged[1:], start=1):
        decay = min(0.3, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * current
    torch.testing.assert_close(weights(module), expected)
    assert ema.share(1) == pytest.approx(9 / 11)
    assert ema.share(100) == pytest.approx(0.7)


def test_swa_is_the_mean_of_the_last_part(tmp_path, data):
    recorder = Recorder()
    module, _ = fit(tmp_path, data, SWA(begin=0.75), recorder)
    torch.testing.assert_close(weights(module), torch.stack(recorder.steps[15:]).mean(0))


def test_validation_sees_the_average_and_training_goes_on_from_the_raw_weights(tmp_path, data):
    recorder = Recorder()
    fit(tmp_path, data, SWA(begin=0.2), recorder)
    for epoch in range(1, 5):
        end = STEPS * (epoch + 1)
        torch.testing.assert_close(recorder.seen[epoch], torch.stack(recorder.steps[STEPS:end]).mean(0))
        assert not torch.equal(recorder.seen[epoch], recorder.steps[end - 1])
    for step in range(1, 5 * STEPS):
        assert torch.equal(recorder.starts[step], recorder.steps[step - 1])


@pytest.mark.parametrize("callback", [EMA(begin=0.2), SWA(begin=0.2)])
def test_training_is_the_same_with_and_without(tmp_path, data, callback):
    plain, _ = fit(tmp_path / "plain", data)
    fit(tmp_path / "averaged", data, callback)
    raw = load(tmp_path / "averaged" / "last.ckpt")["current_model_state"]
    for name, value in plain.state_dict().items():
        assert torch.equal(raw[name], value), name


def test_checkpoint_has_average_raw_weights_and_count(tmp_path, data):
    recorder = Recorder()
    module, _ = fit(tmp_path, data, SWA(begin=0.5), recorder)
    checkpoint = load(tmp_path / "last.ckpt")
    assert torch.equal(checkpoint["state_dict"]["student.0.weight"], weights(module))
    assert torch.equal(checkpoint["current_model_state"]["student.0.weight"], recorder.steps[-1])
    assert torch.equal(checkpoint["state_dict"]["total.weight"], module.total.weight)
    assert checkpoint["averaging_state"]["count"] == 10
    Toy().load_state_dict(checkpoint["state_dict"], strict=True)


@pytest.mark.parametrize("kind", [EMA, SWA])
@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_resume_is_bit_exact(tmp_path, data, kind, epoch):
    whole, _ = fit(tmp_path / "whole", data, kind(begin=0.5))
    resumed, trainer = fit(tmp_path / "again", data, kind(begin=0.5), resume=tmp_path / "whole" / f"after{epoch}.ckpt")
    assert trainer.global_step == 5 * STEPS
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    one, two = load(tmp_path / "whole" / "last.ckpt"), load(tmp_path / "again" / "last.ckpt")
    for key in ("state_dict", "current_model_state"):
        for name, value in one[key].items():
            assert torch.equal(two[key][name], value), (key, name)


def test_batchnorm_statistics_are_those_of_the_averaged_weights(tmp_path, data):
    module, _ = fit(tmp_path, data, SWA(begin=0.5, bn_batches=3))
    features = [module.student[0](data.tensors[0][4 * i : 4 * i + 4]).detach() for i in range(3)]
    norm = module.student[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([f.mean(0) for f in features]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([f.var(0) for f in features]).mean(0))
    saved = load(tmp_path / "last.ckpt")["state_dict"]
    assert torch.equal(saved["student.1.running_mean"], norm.running_mean)


class Viewed(Toy):
    """Is trained on twice the images of its batches, and on the number of the step beside them."""

    def seen(self, image, step):
        return torch.cat([2 * image, torch.full_like(image, step)])

    def training_step(self, batch, batch_idx):
        return super().training_step([self.seen(batch[0], batch_idx)], batch_idx)


def test_batchnorm_statistics_are_those_of_what_the_student_sees(tmp_path, data):
    module, _ = fit(tmp_path, data, SWA(begin=0.5, bn_batches=3), module=Viewed())
    seen = [module.seen(data.tensors[0][4 * i : 4 * i + 4], i) for i in range(3)]
    features = [module.student[0](image).detach() for image in seen]
    torch.testing.assert_close(module.student[1].running_mean, torch.stack([f.mean(0) for f in features]).mean(0))


def test_batchnorm_statistics_can_be_averaged_instead(tmp_path, data):
    module, _ = fit(tmp_path, data, SWA(begin=0.5, bn_batches=0))
    averaged = module.student[1].running_mean.clone()
    update_bn([data.tensors[0]], module.student)
    assert not torch.allclose(averaged, module.student[1].running_mean)


def test_a_tested_checkpoint_has_the_average(tmp_path, data):
    module, trainer = fit(tmp_path, data, SWA(begin=0.5))
    average = weights(module)
    trainer.test(module, DataLoader(data, batch_size=16), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert torch.equal(module.tested, average)
    trainer.validate(module, DataLoader(data, batch_size=16), verbose=False)
    assert torch.equal(weights(module), average)


def test_one_update_an_optimiser_step(tmp_path, data):
    fit(tmp_path, data, SWA(begin=0.5), accumulate=2)
    assert load(tmp_path / "last.ckpt")["averaging_state"]["count"] == 5


@pytest.mark.parametrize(("average", "count"), [(SWA(begin=0.5), 4), (EMA(begin=0.8), 2)])
def test_steps_that_do_not_divide_an_epoch_do_not_delay_it(tmp_path, average, count):
    """Of 36 batches in four epochs two steps an epoch take 8 and 1."""
    fit(tmp_path, TensorDataset(torch.randn(4 * 9, 3)), average, epochs=4, accumulate=8)
    assert load(tmp_path / "last.ckpt")["averaging_state"]["count"] == count


def test_two_averages_are_refused(tmp_path, data):
    with pytest.raises(ValueError, match="ema and swa"):
        fit(tmp_path, data, EMA(), SWA())


@pytest.mark.parametrize("build", [lambda: EMA(begin=1.0), lambda: SWA(bn_batches=-1), lambda: EMA(decay=1.0)])
def test_wrong_numbers_are_refused(build):
    with pytest.raises(ValueError):
        build()


def test_a_compiled_student_is_averaged_too(tmp_path, data, monkeypatch):
    whole, _ = fit(tmp_path / "eager", data, SWA(begin=0.5))
    monkeypatch.setattr(Toy, "setup", lambda self, stage: self.student.compile(backend="eager"))
    compiled, _ = fit(tmp_path / "compiled", data, SWA(begin=0.5))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value)
