"""What a run shows while it trains: a bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, RichProgressBar
from rich.progress import ProgressColumn, Task
from rich.text import Text
from torch import Tensor

from kdbias.callbacks.throughput import Throughput
from kdbias.config.build import builder
from kdbias.runs.bars import columns, in_terminal
from kdbias.runs.clock import Pace, rounded
from kdbias.runs.progress import Progress

REFRESH = 0.5


@builder("callback")
def progress(*, style: Literal["auto", "bar", "lines"] = "auto") -> ProgressBar:
    """Build the progress display; ``auto`` takes the bar in a terminal and a line an epoch in a file or a pipe."""
    if style == "auto":
        style = "bar" if in_terminal() else "lines"
    return Bar() if style == "bar" else EpochLines()


class RunLeft(ProgressColumn):
    """The time that the whole run still takes, not the epoch, at the pace since it began or was resumed.

    Epochs count with their validation and their probes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pace: Pace | None = None
        self.seconds: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """Start the clock."""
        self.pace = Pace(float(trainer.max_epochs or 0), float(trainer.current_epoch))

    def move(self, trainer: Trainer, part: float) -> None:
        """Take note that ``part`` of the present epoch is done."""
        if self.pace is not None and self.pace.total > 0:
            self.seconds = self.pace.left(trainer.current_epoch + part)

    def render(self, task: Task) -> Text:
        """Give the text."""
        return Text("" if self.seconds is None else f"{rounded(self.seconds)} left")


class Bar(RichProgressBar):
    """A rich bar for each epoch, with the time left of the run, the total loss and its parts, accuracy and images/s.

    Epochs are counted from 1, as in the lines. The values are read at most twice a second: each reading waits for the
    GPU.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=4)
        self._left = RunLeft()
        self._read: dict[str, int | str | float | dict[str, float]] = {}
        self._read_at = 0.0

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Give the values that the bar shows."""
        now = time.monotonic()
        if now - self._read_at >= REFRESH or not self._read:
            self._read = {**_short(trainer.progress_bar_metrics), **_rate(trainer)}
            self._read_at = now
        return self._read

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Give the columns of every bar, without Lightning's it/s: images/s stands among the values."""
        return columns(self._left)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the whole run."""
        self._left.begin(trainer)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self.total_train_batches not in (0, float("inf")):
            self._left.move(trainer, (batch_idx + 1) / self.total_train_batches)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        """Name an epoch as the lines do; Lightning counts from 0, to the last."""
        epochs = self.trainer.max_epochs
        name = f"epoch {current_epoch + 1}" + (f"/{epochs}" if epochs is not None and epochs > 0 else "")
        return f"{name:{len(self.validation_description)}}"


class SaysProgress(Callback):
    """Writes a run's progress into its folder, for processes that wait for the run.

    Every run has this callback, because a waiting process may not see what the run shows.
    """

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)
        self._accuracy: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many epochs are already complete: none, unless the run is resumed."""
        self._say(trainer, pl_module, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the accuracy, if the module has one."""
        value = trainer.callback_metrics.get("val/accuracy")
        self._accuracy = None if value is None else float(value)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that an epoch is over."""
        self._say(trainer, pl_module, trainer.current_epoch + 1)

    def _say(self, trainer: Trainer, module: LightningModule, done: int) -> None:
        if trainer.is_global_zero:
            seconds: float | None = getattr(module, "seconds", None)
            Progress(done, int(trainer.max_epochs or 0), self._accuracy, seconds).write(self.run)


class EpochLines(ProgressBar):
    """One line an epoch, on stdout: what was logged of it.

    An epoch's line comes at the start of the next, when the module has logged its means.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._epoch: int | None = None
        self._validated = False
        self._began = 0.0
        self._pace: Pace | None = None

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Show lines."""
        self._enabled = True

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Show the line of the epoch before."""
        self._show(trainer)
        self._began = time.monotonic()
        self._pace = self._pace or Pace(float(trainer.max_epochs or 0), float(trainer.current_epoch))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch has a validation."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that an epoch is complete."""
        self._epoch = trainer.current_epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the line of the last epoch."""
        self._show(trainer)

    def _show(self, trainer: Trainer) -> None:
        if self._epoch is not None and self._enabled:
            seconds = time.monotonic() - self._began
            left = self._pace.left(self._epoch + 1) if self._pace is not None else None
            shown = line(self._epoch + 1, trainer.max_epochs, trainer.callback_metrics, self._validated, seconds, left)
            print(shown, flush=True)
        self._epoch, self._validated = None, False


def line(
    epoch: int,
    epochs: int | None,
    metrics: Mapping[str, Tensor],
    validated: bool,
    seconds: float,
    left: float | None = None,
) -> str:
    """Give the text of one epoch (counted from 1): loss, its parts, accuracies, images/s, seconds, what is left.

    ``left`` are the seconds that the rest of the run takes; without any, or none that are known, nothing is said.

    ``train/<name>`` are means over the epoch; ``val/accuracy``, ``val/knn`` and ``val/linear`` are shown where
    ``validated``.
    """
    apart = ("train/loss", "train/accuracy", "train/images_per_second", "train/seconds", "train/peak_memory")
    means = {name: float(value) for name, value in metrics.items() if name.startswith("train/")}
    parts = [
        f"{name.removeprefix('train/')} {value:.3f}"
        for name, value in means.items()
        if name not in (*apart, "train/loss_step") and name.count("/") == 1  # whole terms, not their layers
    ]
    texts = [f"epoch {epoch}/{epochs}" if epochs and epochs > 0 else f"epoch {epoch}"]
    if "train/loss" in means:
        texts.append(f"loss {means['train/loss']:.3f}" + (f" ({', '.join(parts)})" if parts else ""))
    if "train/accuracy" in means:
        texts.append(f"train accuracy {means['train/accuracy']:.3f}")
    if validated and "val/accuracy" in metrics:
        texts.append(f"val accuracy {float(metrics['val/accuracy']):.4f}")
    for name, label in (("val/knn", "val k-NN"), ("val/linear", "val linear probe")):
        if validated and name in metrics:  # the last value, where not every epoch has one
            texts.append(f"{label} {float(metrics[name]):.4f}")
    if "train/images_per_second" in means:
        texts.append(f"{means['train/images_per_second']:.0f} images/s")
    return "  ".join([*texts, f"{seconds:.0f} s", *([f"{rounded(left)} left"] if left else [])])


def _short(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Shorten the keys for the bar: ``train/loss_step`` to ``loss``, ``loss/kl`` to ``kl``."""
    return {name.rpartition("/")[2].removesuffix("_step"): float(value) for name, value in metrics.items()}


def _rate(trainer: Trainer) -> dict[str, str]:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Throughput):
            return {"images/s": f"{callback.images_per_second:.0f}"}
    return {}
