"""Small trainings without labels, on the embedded images."""

from pathlib import Path

import lightning as L
from training import StopAfter, quiet_trainer

from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues

VIT = {
    "_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "patch": 8, "classes": None,
}  # fmt: skip
SHARED = {
    "views": {"_target_": "kdbias.data.ssl_views.TwoViews", "size": 16},
    "collapse": {"_target_": "kdbias.modules.ssl_watch.CollapseWatch"},
}
METHODS = {
    "simclr": {"_target_": "kdbias.modules.ssl_simclr.SimCLR", "hidden": 16, "dim": 8, **SHARED},
    "dino": {
        "_target_": "kdbias.modules.ssl_dino.DINO", "hidden": 16, "bottleneck": 8, "prototypes": 12, "momentum": 0.9,
        "freeze_last": 0.3, **SHARED,
    },
}  # fmt: skip
SMALL = [
    "trainer=smoke", "data.train=200", "data.val=40", "data.test=40", "logger=[csv]", "model=vit", "model.width=16",
    "model.depth=1", "model.heads=2", "model.patch=8", "model.classes=null", "module.views.size=16",
]  # fmt: skip
SOURCE = cues(train=96, val=32, test=32)


def make_data() -> ImageData:
    augment = Augment(crop=0, flip=False, erasing=0, mixup=0, cutmix=0)
    return ImageData(SOURCE, augment, batch_size=16, eval_batch_size=32, seed=0)


def make_spec(data: ImageData, module: dict, model: dict = VIT) -> dict:
    return {
        "model": model,
        "module": module,
        "optim": {
            "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 2e-3, "weight_decay": 0.04},
            "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.1},
            "clip": 1.0,
        },
        "data": data.info.to_dict(),
        "seed": 0,
        "channels_last": True,
    }


def fit(
    name: str,
    folder: Path,
    epochs: int = 3,
    stop: int | None = None,
    resume: Path | None = None,
    callbacks=(),
    **changes,
):
    L.seed_everything(0, verbose=False)
    data = make_data()
    spec = make_spec(data, {**METHODS[name], **changes})
    module = build(spec["module"], spec)
    trainer = quiet_trainer(
        max_epochs=epochs,
        callbacks=[*callbacks, *([StopAfter(stop, folder / "stop.ckpt")] if stop else [])],
        log_every_n_steps=2,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module
