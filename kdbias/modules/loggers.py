"""Where scalars and figures of a run go."""

from __future__ import annotations

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def tensorboard(run: str) -> TensorBoardLogger:
    """Event files in ``<run>/tensorboard``."""
    return TensorBoardLogger(run, name="", version="tensorboard", default_hp_metric=False)


def csv(run: str) -> CSVLogger:
    """``<run>/metrics.csv``."""
    return CSVLogger(run, name="", version="")
