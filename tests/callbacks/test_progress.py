import io
import time
from dataclasses import replace

import lightning as L
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import quiet_trainer

from kdbias.callbacks.progress import Bar, EpochLines, SaysProgress, line, progress
from kdbias.callbacks.throughput import Throughput
from kdbias.runs.progress import Progress, read


class Toy(L.LightningModule):
    """Logs under the names that the distillation module uses."""

    def __init__(self):
        super().__init__()
        self.student = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        loss = self.student(batch[0]).square().sum()
        self.log("train/loss_step", loss, prog_bar=True)
        self.log("loss/kl", 0.25, prog_bar=True)
        return loss

    def on_train_epoch_end(self):
        self.log("train/loss", 0.5)
        self.log("train/kl", 0.25)

    def validation_step(self, batch, batch_idx):
        self.log("val/accuracy", 0.75, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, *callbacks, epochs=2, resume=None, **options):
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **({"enable_progress_bar": True} | options),
    )
    loader = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2)
    trainer.fit(Toy(), loader, loader, ckpt_path=resume, weights_only=True)
    return trainer


def test_one_line_an_epoch(tmp_path, capsys):
    fit(tmp_path, EpochLines(), Throughput(), epochs=3)
    lines = [row for row in capsys.readouterr().out.splitlines() if row.startswith("epoch")]
    assert [row.split("  ")[0] for row in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for row in lines:
        assert "loss 0.500 (kl 0.250)" in row
        assert "val accuracy 0.7500" in row
        assert "images/s" in row


def test_epochs_without_validation_show_no_old_accuracy(tmp_path, capsys):
    fit(tmp_path, EpochLines(), epochs=3, check_val_every_n_epoch=2)
    lines = [row for row in capsys.readouterr().out.splitlines() if row.startswith("epoch")]
    assert ["val accuracy" in row for row in lines] == [False, True, False]


def test_line_shows_what_there_is():
    assert line(3, -1, {}, validated=True, seconds=2.0) == "epoch 3  2 s"
    values = {"train/loss": torch.tensor(1.5), "train/ce": torch.tensor(1.0), "val/accuracy": torch.tensor(0.5)}
    text = "epoch 1/2  loss 1.500 (ce 1.000)  val accuracy 0.5000  7 s"
    assert line(1, 2, values, validated=True, seconds=7.0) == text
    assert line(1, 2, values, validated=True, seconds=7.0, left=725.0) == f"{text}  12 min left"


def test_every_line_but_the_last_says_what_is_left_of_the_whole_run(tmp_path, capsys):
    fit(tmp_path, EpochLines(), epochs=3)
    lines = [row for row in capsys.readouterr().out.splitlines() if row.startswith("epoch")]
    assert [row.endswith(" left") for row in lines] == [True, True, False]


def test_the_bar_counts_the_time_of_the_run_and_not_of_the_epoch(tmp_path):
    bar, seen = Bar(), []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            pace = bar._left.pace
            seen.append((pace.total, trainer.current_epoch + (len(seen) % 4 + 1) / 4, bar._left.seconds / pace.seconds))

    fit(tmp_path, bar, Look(), epochs=2)
    for total, done, ratio in seen:
        assert ratio == pytest.approx((total - done) / done, rel=0.2)
    assert [done for _, done, _ in seen][-1] == 2


def test_bar_shows_loss_parts_accuracy_and_rate(tmp_path, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    monkeypatch.setattr("lightning.pytorch.callbacks.progress.rich_progress.get_console", lambda: console)
    monkeypatch.setattr("kdbias.callbacks.progress.REFRESH", 0.0)
    fit(tmp_path, Bar(), Throughput(), epochs=2)
    text = screen.getvalue()
    for shown in ("epoch 1/2", "epoch 2/2", "loss: ", "kl: 0.250", "accuracy: 0.750", "images/s: "):
        assert shown in text
    assert "it/s" not in text


def test_bar_reads_values_at_most_every_half_second(tmp_path):
    bar = Bar()
    trainer = fit(tmp_path, bar)
    bar._read_at = time.monotonic()
    bar._read = {"kept": 1.0}
    assert bar.get_metrics(trainer, trainer.lightning_module) == {"kept": 1.0}
    bar._read_at -= 1.0
    assert bar.get_metrics(trainer, trainer.lightning_module)["kl"] == pytest.approx(0.25)


def test_style_follows_the_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert isinstance(progress(), EpochLines)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert isinstance(progress(), Bar)
    assert isinstance(progress(style="lines"), EpochLines)


class Clock(L.Callback):
    """In place of ``time``: a batch of training takes a second, and one of validation a hundred."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def on_train_batch_start(self, *_):
        self.now += 1.0

    def on_validation_batch_start(self, *_):
        self.now += 100.0


def test_throughput_leaves_validation_out(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("kdbias.callbacks.throughput.time", clock)
    trainer = fit(tmp_path, clock, Throughput(), epochs=1, enable_progress_bar=False)
    assert float(trainer.callback_metrics["train/seconds"]) == 4.0
    assert float(trainer.callback_metrics["train/images_per_second"]) == 2.0
    assert "train/peak_memory" not in trainer.callback_metrics


class Watch(L.Callback):
    """Keeps what the run's folder says at the start of every epoch."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def on_train_epoch_start(self, trainer, pl_module):
        found = read(self.folder)
        self.seen.append(None if found is None else replace(found, seconds=None))


def test_the_folder_says_how_far_a_run_has_come(tmp_path):
    watch = Watch(tmp_path)
    assert read(tmp_path) is None
    fit(tmp_path, SaysProgress(tmp_path), watch, epochs=3, check_val_every_n_epoch=2)
    assert watch.seen == [Progress(0, 3, None), Progress(1, 3, None), Progress(2, 3, 0.75)]
    assert read(tmp_path) == Progress(3, 3, 0.75, seconds=read(tmp_path).seconds)
    fit(tmp_path, SaysProgress(tmp_path), again := Watch(tmp_path), epochs=2)
    assert again.seen[0] == Progress(0, 2, None)  # a run that starts anew in the folder of another


def test_a_resumed_run_says_what_was_done_before(tmp_path):
    trainer = fit(tmp_path, SaysProgress(tmp_path), epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    watch = Watch(tmp_path)
    fit(tmp_path, SaysProgress(tmp_path), watch, epochs=3, resume=tmp_path / "last.ckpt")
    assert watch.seen == [Progress(2, 3, None)]
    assert read(tmp_path) == Progress(3, 3, 0.75, seconds=read(tmp_path).seconds)
