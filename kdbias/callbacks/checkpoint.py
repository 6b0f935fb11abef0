"""Which checkpoints a run keeps, and when it stops early."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


def best(*, folder: str, monitor: str = "val/accuracy", mode: Literal["min", "max"] = "max") -> ModelCheckpoint:
    """Keep ``best.ckpt``, of the validation with the best ``monitor``."""
    return ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)


def last(*, folder: str, every: int = 1) -> ModelCheckpoint:
    """Keep ``last.ckpt``, written every so many epochs, from which a run is resumed.

    ``save_last`` beside a ``monitor`` would not do: Lightning then writes it only when the metric got better.
    """
    return ModelCheckpoint(
        folder, "last", every_n_epochs=every, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )


def early_stopping(
    *,
    monitor: str = "val/accuracy",
    mode: Literal["min", "max"] = "max",
    patience: int = 20,
    min_delta: float = 0.0,
) -> EarlyStopping:
    """Stop when ``monitor`` has not got better by ``min_delta`` for ``patience`` validations."""
    return EarlyStopping(monitor, mode=mode, patience=patience, min_delta=min_delta, check_finite=True)
