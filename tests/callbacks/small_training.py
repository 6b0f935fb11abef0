"""A training of seconds, for tests of callbacks."""

import lightning as L
import torch

from kdbias.batch import Batch
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.models.deit import vit


class Noise:
    """Random images, 32 of each split."""

    def __init__(self, info):
        self.info = info

    def prepare(self):
        pass

    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        images = torch.randint(256, (32, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return images, torch.randint(10, (32,), generator=generator)


class Small(L.LightningModule):
    """A student with dropout, so that a random number drawn by anybody else shows in its weights."""

    def __init__(self, info, teacher=None, student=None):
        super().__init__()
        self.teacher = teacher
        self.student = student or vit(info, width=16, depth=2, heads=2, patch=8, drop_path=0.5)

    def training_step(self, batch, batch_idx):
        batch = Batch(*(part[self.global_rank % 2 :] for part in batch))  # unlike numbers in the processes
        return torch.nn.functional.cross_entropy(self.student(batch.image).logits, batch.target)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def train(info, folder, callbacks, epochs=3, loggers=False, teacher=None, student=None, checkpoints=False, **settings):
    L.seed_everything(0)
    module = Small(info, teacher, student)
    data = ImageData(Noise(info), Augment(), batch_size=8, eval_batch_size=12, seed=0)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=1,
        enable_checkpointing=checkpoints,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(module, data)
    return module, data
