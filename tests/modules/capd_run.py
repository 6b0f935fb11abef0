"""A small run of CAPD: a CNN of 2 K parameters, a transformer with random weights, 64 images."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from training import quiet_trainer

from kdbias.config.build import build, builder
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.modules.capd import CAPD

SOURCE = cues(train=96, val=32, test=32)
VIT = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 12]}
WEIGHTS = {"attention": 0.2, "values": 0.05, "logits": 1.0, "class_token": 1.0, "tokens": 0.05, "adversary": 1.0}
RISING = {"kind": "linear", "start": 0.0, "end": 0.2, "begin": 0.4, "until": 0.6}


@builder("model")
def without_batchnorm(data, *, widths) -> Extractor:
    """The small CNN with norms of each image by itself: two processes with half of the batch equal one."""
    own: Extractor = build({**CNN, "widths": widths}, data)
    for parent in list(own.network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(1, child.num_features))
    return own


class Counting(Teacher):
    """A teacher that counts how often it is asked."""

    asked = 0

    def answer(self, batch, step):
        self.asked += 1
        return super().answer(batch, step)


def make_data(**augment: Any) -> ImageData:
    chosen = Augment(**{"mixup": 0, "cutmix": 0, "erasing": 0, **augment})
    return ImageData(SOURCE, chosen, batch_size=16, eval_batch_size=32, seed=0)


def make_teacher(**changes: Any) -> Counting:
    torch.manual_seed(7)
    return Counting(build({**VIT, **changes}, SOURCE.info), "vit")


def make_module(model: dict = CNN, teacher: Teacher | None = None, lr: float = 1e-2, **changes: Any) -> CAPD:
    arguments = {"weight": RISING, "weights": WEIGHTS, "adversary_hidden": 8, **changes}
    optim = {
        "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": lr, "weight_decay": 0.05},
        "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.1},
        "clip": 1.0,
    }
    spec = {"model": model, "optim": optim, "data": SOURCE.info.to_dict(), "seed": 0, "channels_last": True}
    teacher = teacher or make_teacher()
    torch.manual_seed(0)
    return CAPD(spec, teacher, **arguments)


def fit(module: CAPD, callbacks=(), resume: Path | None = None, data: ImageData | None = None, **settings) -> CAPD:
    """Train three epochs of four batches; a callback may end it by an interrupt."""
    L.seed_everything(0, verbose=False)
    silent = {"enable_checkpointing": any(isinstance(each, L.pytorch.callbacks.ModelCheckpoint) for each in callbacks)}
    trainer = quiet_trainer(
        max_epochs=3,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **silent,
        **settings,
    )
    try:
        trainer.fit(module, datamodule=data or make_data(), ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        assert callbacks
    return module
