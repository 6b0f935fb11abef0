"""Weights along the way tell their epoch and accuracy, and are those that were validated."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.history import History, accuracies

ACCURACY = [0.1, 0.5, 0.3, 0.4, 0.25]


class Toy(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"spec": {"model": "toy"}})
        self.student = nn.Linear(2, 1)
        self.validated = []

    def training_step(self, batch, batch_idx):
        return self.student(batch[0]).square().sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.student.weight.detach().clone())
        self.log("val/accuracy", torch.tensor(ACCURACY[self.current_epoch]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(*callbacks) -> Toy:
    torch.manual_seed(0)
    off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=5, accelerator="cpu", num_sanity_val_steps=0, callbacks=list(callbacks), **off)
    loader = DataLoader(TensorDataset(torch.randn(2, 2)), batch_size=2)
    module = Toy()
    trainer.fit(module, loader, loader)
    return module


def test_every_other_epoch_and_the_last_are_kept_with_their_accuracy(tmp_path):
    fit(History(folder=str(tmp_path), every=2))
    expected = {"epoch_0002_0.5000": 0.5, "epoch_0004_0.4000": 0.4, "epoch_0005_0.2500": 0.25}
    assert accuracies(tmp_path) == expected
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "best.ckpt").touch()
    assert accuracies(tmp_path) == expected


def test_they_are_what_was_validated_and_describe_themselves(tmp_path):
    module = fit(EMA(decay=0.5, begin=0.2), History(folder=str(tmp_path)))
    for epoch, (name, validated) in enumerate(zip(accuracies(tmp_path), module.validated, strict=True)):
        content = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
        assert torch.equal(content["state_dict"]["student.weight"], validated)
        assert content["hyper_parameters"]["spec"] == {"model": "toy"}
        assert content["epoch"] == epoch
        assert "optimizer_states" not in content
