"""A run that goes on from a checkpoint of the middle of an epoch: its images are those that were left."""

from pathlib import Path

import lightning as L
import pytest
import torch
from test_distill import make_data, make_spec, same_weights

from kdbias.modules.distill import Distill


class Seen(L.Callback):
    """Keep the positions of the images of every batch; save a checkpoint after step ``save``."""

    def __init__(self, path: Path | None = None, save: int = -1) -> None:
        self.path, self.save = path, save
        self.batches: list[list[int]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append(batch.index.tolist())
        if trainer.global_step == self.save:
            trainer.save_checkpoint(self.path)


def fit(seen: Seen, folder: Path, resume: Path | None = None) -> Distill:
    torch.manual_seed(0)
    data = make_data()
    spec = make_spec(data, drop_path=0.1)
    spec["loss"] = {"ce": {"_target_": "kdbias.losses.ce.CE"}}
    module = Distill(spec)
    trainer = L.Trainer(
        default_root_dir=folder,
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[seen],
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize("save", [1, 3, 6])
def test_it_goes_on_with_the_images_that_were_left(save: int, tmp_path: Path) -> None:
    path = tmp_path / "middle.ckpt"
    whole, rest = Seen(path, save), Seen()
    uncut = fit(whole, tmp_path)
    resumed = fit(rest, tmp_path, path)
    assert len(whole.batches) == 8
    assert rest.batches == whole.batches[save:]
    assert same_weights(uncut, resumed)
