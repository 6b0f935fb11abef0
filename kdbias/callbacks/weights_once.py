"""Files of a training that hold its weights once: what is evaluated, and the description of its network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

KEPT = ("state_dict", "hyper_parameters", "hparams_name", "epoch", "global_step", "pytorch-lightning_version")
STUDENT = "student."


class WeightsOnce(Checkpoint):
    """A callback that saves checkpoints to evaluate, next to those of other callbacks to resume from.

    Such a file has the weights that were validated (the average, once averaging has begun), the description of their
    network, and when they were: a fourth of what resuming takes with AdamW and an average. It has no raw weights, no
    states of optimisers and callbacks, and nothing that loss terms learn.
    """

    _saving = False

    @contextmanager
    def once(self) -> Iterator[None]:
        """Have every checkpoint that is saved inside the block hold the weights once."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take out of the checkpoint what only resume needs; averaging, which Lightning calls before, has put it in."""
        if not self._saving:
            return
        for key in checkpoint.keys() - set(KEPT):
            del checkpoint[key]
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith(STUDENT)}
