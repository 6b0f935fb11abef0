"""When a callback that measures every so many epochs has its turn."""

from __future__ import annotations

from lightning.pytorch import Trainer


def due(trainer: Trainer, every: int) -> bool:
    """Say at a validation whether it is time: ``every`` epochs are full since the last one, or no other follows.

    A run that validates every 2 epochs and measures every 5 does so after 6, 10, 12 ... epochs.
    """
    epoch, step = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
    last = trainer.max_epochs is not None and 0 < trainer.max_epochs < epoch + step
    return last or epoch // every > (epoch - step) // every
