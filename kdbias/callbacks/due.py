"""Decides at which validations a callback measures that does so every few epochs."""

from __future__ import annotations

from lightning.pytorch import Trainer


def due(trainer: Trainer, every: int) -> bool:
    """Say whether to measure at this validation.

    It is time if a multiple of ``every`` epochs was reached since the last validation, or if this validation is the
    last one. A run that validates every 2 epochs and measures every 5 measures after 6, 10, 16, 20 ... epochs.
    """
    epoch, step = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
    last = trainer.max_epochs is not None and 0 < trainer.max_epochs < epoch + step
    return last or epoch // every > (epoch - step) // every
