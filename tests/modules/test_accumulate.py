"""Batches that are taken together in one optimiser step count alike, also in the last step of an epoch."""

import lightning as L
import pytest
import torch
from torch.nn import functional as F
from training import quiet_trainer

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.modules.supervised import Supervised

LR = 0.1
SOURCE = cues(train=96, val=32, test=32)  # four batches of 16 remain


class Student(Supervised):
    """Cross-entropy alone."""

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self(batch.image), batch.target)
        self.record(loss, {})
        if self.logs_step(batch_idx):
            self.log_step(loss, {}, len(batch.image))
        return loss


class AsBefore(Student):
    """Goes back as Lightning does."""

    backward = L.LightningModule.backward


class Steps(L.Callback):
    """Keep each batch with the weights before it."""

    def __init__(self) -> None:
        self.found = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.found.append((batch, weights(pl_module)))


def weights(module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.student.named_parameters()}


def fit(kind, accumulate: int, batches: int, **settings):
    L.seed_everything(0, verbose=False)
    data = ImageData(SOURCE, Augment(mixup=0, cutmix=0, erasing=0), batch_size=16, eval_batch_size=32, seed=0)
    optimizer = {"_target_": "kdbias.modules.optim.sgd", "lr": LR, "weight_decay": 0.0, "momentum": 0.0}
    module = kind({
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
        "optim": {"optimizer": optimizer | {"nesterov": False}, "schedule": None, "clip": None},
        "data": data.info.to_dict(),
        "seed": 0,
        "channels_last": False,
    })  # fmt: skip
    trainer = quiet_trainer(
        accumulate_grad_batches=accumulate,
        limit_train_batches=batches,
        limit_val_batches=0,
        use_distributed_sampler=False,
        **settings,
    )
    trainer.fit(module, datamodule=data)
    return module


def test_the_last_step_of_an_epoch_is_that_of_its_batch_alone():
    steps = Steps()
    module = fit(Student, 2, 3, max_epochs=1, callbacks=[steps])
    end, logged = weights(module), module.trainer.callback_metrics["train/loss_step"]
    batch, before = steps.found[2]
    module.student.load_state_dict(before, strict=False)
    module.train()
    module.zero_grad()
    loss = F.cross_entropy(module(batch.image), batch.target)
    loss.backward()
    torch.testing.assert_close(logged, loss.detach())
    for name, parameter in module.student.named_parameters():
        torch.testing.assert_close(end[name], before[name] - LR * parameter.grad)


@pytest.mark.parametrize(("accumulate", "same"), [(1, True), (2, True), (4, True), (3, False)])
def test_steps_that_divide_an_epoch_are_as_they_were(accumulate, same):
    one, two = (weights(fit(kind, accumulate, 4, max_epochs=2)) for kind in (Student, AsBefore))
    assert all(torch.equal(one[name], two[name]) for name in one) is same
