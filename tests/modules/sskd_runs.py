"""Small runs of SSKD on noise, alike in the tests of its module and of its head."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from training import Noise, StopAfter, quiet_trainer

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.models.teacher import Teacher
from kdbias.modules.sskd import SSKD
from kdbias.modules.sskd_head import contrastive_head

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 32, (0.5,) * 3, (0.25,) * 3)
VIT = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "patch": 8}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]}
VIEWS = {"_target_": "kdbias.data.rotations.Rotations"}
PLAIN = Augment(crop=0, flip=False, erasing=0, mixup=0, cutmix=0)


def make_data() -> ImageData:
    return ImageData(Noise(INFO), PLAIN, batch_size=8, eval_batch_size=32, seed=0)


def make_teacher(model: dict = CNN) -> Teacher:
    torch.manual_seed(5)
    return Teacher(build(model, INFO), "cnn")


def save_head(folder: Path, width: int) -> Path:
    torch.manual_seed(6)
    torch.save({"state_dict": contrastive_head(width).state_dict()}, folder / "head.pth")
    return folder / "head.pth"


def make_module(folder: Path, teacher: Teacher, model: dict = VIT, **changes: Any) -> SSKD:
    """Give a module with a head of its own; the same weights at every call."""
    head = {"batch_size": 8, "weights": str(save_head(folder, teacher.info.width))}
    spec = {
        "model": model,
        "module": {"_target_": "kdbias.modules.sskd.SSKD", "views": VIEWS, "head": head, **changes},
        "optim": {"optimizer": {"_target_": "kdbias.modules.optim.sgd", "lr": 0.05, "weight_decay": 5e-4},
                  "schedule": None, "clip": None},
        "data": INFO.to_dict(),
        "seed": 0,
        "channels_last": True,
    }  # fmt: skip
    torch.manual_seed(0)
    return build(spec["module"], spec, teacher, group="module")


def fit(module: SSKD, folder: Path, stop: int | None = None, resume: Path | None = None, **settings: Any) -> SSKD:
    """Train; ``stop`` ends after so many epochs, ``resume`` goes on from a checkpoint."""
    L.seed_everything(0, verbose=False)
    settings = {"max_epochs": 3, "num_sanity_val_steps": 0, "log_every_n_steps": 1, **settings}
    callbacks = [*settings.pop("callbacks", []), *([StopAfter(stop, folder / "stop.ckpt")] if stop else [])]
    trainer = quiet_trainer(callbacks=callbacks, use_distributed_sampler=False, **settings)
    trainer.fit(module, datamodule=make_data(), ckpt_path=resume, weights_only=True)
    return module
