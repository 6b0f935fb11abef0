"""Weights during training, from which ``control=accuracy_matched`` chooses a teacher of a given accuracy."""

from __future__ import annotations

import re
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from kdbias.callbacks.weights_once import WeightsOnce
from kdbias.config.build import builder


@builder("callback")
class History(WeightsOnce):
    """Save the weights every ``every`` epochs and after the last, as ``epoch_<number>_<validation accuracy>.ckpt``.

    The weights are those that were validated: the average, once averaging has begun. A file is a checkpoint that
    describes its network, without the parts that only resume needs.

    Args:
        folder: Where the files go.
        every: Epochs between two files.

    Raises:
        ArgumentError: ``every`` is below 1.
    """

    def __init__(self, *, folder: str, every: int = 1) -> None:
        self.folder, self.every = Path(folder), every

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file of this epoch."""
        epoch = trainer.current_epoch + 1
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        value = float(trainer.callback_metrics["val/accuracy"])
        with self.once():
            trainer.save_checkpoint(self.folder / f"epoch_{epoch:04d}_{value:.4f}.ckpt")  # by all processes


def accuracies(folder: Path) -> dict[str, float]:
    """Give the accuracies, in 0..1, that the names of the checkpoints in ``folder`` state, by name without suffix."""
    found = ((path.stem, re.fullmatch(r"epoch_\d+_([01]\.\d+)\.ckpt", path.name)) for path in folder.glob("*.ckpt"))
    return {name: float(match[1]) for name, match in sorted(found) if match}
