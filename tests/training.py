"""A trainer that prints and saves nothing, a crash at the end of an epoch, and images of noise to train on."""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from kdbias.batch import DataInfo


def quiet_trainer(**settings) -> L.Trainer:
    """Give a trainer on the CPU without logger, checkpoints, bar and summary; ``settings`` go over these."""
    silent = {"logger": False, "enable_checkpointing": False}
    silent |= {"enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(**{"accelerator": "cpu", **silent, **settings})


class StopAfter(L.Callback):
    """Save a checkpoint after epoch ``stop`` and end training there, as a crash would."""

    def __init__(self, stop: int, path: Path) -> None:
        self.stop, self.path = stop, path

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.stop:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


class Noise:
    """A source of random images, 32 of each split; with ``told``, a little brighter in one of two classes."""

    def __init__(self, info: DataInfo, told: bool = False) -> None:
        self.info, self.told = info, told

    def prepare(self) -> None:
        pass

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(len(name))
        if self.told:
            labels = torch.arange(32) % 2
            images = torch.randint(200, (32, 3, 32, 32), generator=generator, dtype=torch.uint8)
            return images + 40 * labels.to(torch.uint8)[:, None, None, None], labels
        images = torch.randint(256, (32, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return images, torch.randint(10, (32,), generator=generator)
