"""Which checkpoints a run keeps, and when it stops early."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from kdbias.callbacks.weights_once import WeightsOnce
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")  # of the state of Lightning's callback


class Kept(ModelCheckpoint):
    """Keep checkpoints in a folder that may move between the start of a run and its resume."""

    @property
    def state_key(self) -> str:
        """Where ``last.ckpt`` keeps its state: as before there was this class, so that older runs go on."""
        return super().state_key.replace(Kept.__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state with its paths in the present folder, where its files lie; Lightning drops one of another.

        If the folder has moved without the best file, the state stays unread: the next validation is the best.
        """
        found = self._here(state_dict)
        best, moved = found["best_model_path"], state_dict.get("dirpath", self.dirpath) != self.dirpath
        if moved and best and not Path(best).is_file():
            rank_zero_warn(f"{best} has not been moved with its run: the best of the epochs from here on is kept")
            return
        super().load_state_dict(found)

    def _here(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state of the files of the same names in the present folder."""
        files = {key: self._file(state[key]) for key in PATHS if key in state}
        scores = {self._file(path): value for path, value in (state.get("best_k_models") or {}).items()}
        return {**state, **files, "best_k_models": scores, "dirpath": self.dirpath}

    def _file(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


class Best(WeightsOnce, Kept):
    """Keep ``best.ckpt``, of the validation with the best ``monitor``, with its weights once."""

    @property
    def state_key(self) -> str:
        """Where ``last.ckpt`` keeps what was best: as before there was this class, so that older runs go on."""
        return super().state_key.replace(Best.__qualname__, ModelCheckpoint.__qualname__, 1)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        with self.once():
            super()._save_checkpoint(trainer, filepath)


class LastState(Best):
    """Keep the state at the end of training as ``best.ckpt``; no metric and no labels choose it.

    It is written after every epoch and once more when training ends. By then averaged weights have their BatchNorm
    statistics, even if the last epoch had no validation.
    """

    def __init__(self, folder: str) -> None:
        # the mode tells its state from that of ``last``: both watch nothing
        super().__init__(
            folder, "best", mode="max", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the state that is left."""
        if self.best_model_path:
            with self.once():
                trainer.save_checkpoint(self.best_model_path)


@builder("callback")
def best(*, folder: str, monitor: str | None = "val/accuracy", mode: Literal["min", "max"] = "max") -> ModelCheckpoint:
    """Keep ``best.ckpt``, of the validation with the best ``monitor``; None keeps the state at the end of training.

    It holds the weights that are evaluated, once, and their description; no run resumes from it.

    Raises:
        ValueError: ``monitor`` is no name, or there is no such ``mode``.
    """
    _require_folder(folder)
    _require_metric(monitor, mode)
    if monitor is None:
        return LastState(folder)
    return Best(folder, "best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)


@builder("callback")
def last(*, folder: str, every: int = 1) -> ModelCheckpoint:
    """Keep ``last.ckpt``, from which a run is resumed; it is written every ``every`` epochs.

    ``save_last`` with a ``monitor`` does not work here: Lightning then writes it only when the metric improves.

    Raises:
        ValueError: ``every`` is no whole number of at least 1.
    """
    _require_folder(folder)
    return Kept(
        folder, "last", every_n_epochs=every, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )


class Stops(EarlyStopping):
    """Lightning's early stopping, which also ends a resumed run that it had ended before."""

    @property
    def state_key(self) -> str:
        """Give the key of its state in checkpoints: that of its parent, as before there was this class."""
        return super().state_key.replace(Stops.__qualname__, EarlyStopping.__qualname__, 1)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further epoch where the patience was used up before the checkpoint."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


@builder("callback")
def early_stopping(
    *,
    monitor: str | None = "val/accuracy",
    mode: Literal["min", "max"] = "max",
    patience: int = 20,
    min_delta: float = 0.0,
) -> EarlyStopping:
    """Stop when ``monitor`` has not got better by ``min_delta`` for ``patience`` validations.

    Raises:
        ValueError: ``monitor`` is None or no name, there is no such ``mode``, or ``patience`` is below 1.
    """
    _require_metric(monitor, mode)
    if monitor is None:
        raise ArgumentError("monitor", "it stops by a metric: set one (val/knn), or leave early_stopping out")
    return Stops(monitor, mode=mode, patience=patience, min_delta=min_delta, check_finite=True)


def _require_metric(monitor: Any, mode: Any) -> None:
    """Raise for a metric or a mode that Lightning cannot use, with an error that names the key."""
    if monitor is not None and not isinstance(monitor, str):
        raise ArgumentError("monitor", f"is {monitor!r}: give the name of one metric, as in val/accuracy")


def _require_folder(folder: Any) -> None:
    """Raise for a folder that is no path, with an error that names the key."""
    if not isinstance(folder, str):
        raise ArgumentError("folder", f"is {folder!r}: give the path of a folder")
