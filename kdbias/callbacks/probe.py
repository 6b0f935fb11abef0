"""Runs a probe during training."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from kdbias.batch import Batch
from kdbias.callbacks.averaging import Averaging
from kdbias.callbacks.due import due
from kdbias.config.build import build, builder, target, written
from kdbias.config.conf import FOLDER_NAME, is_folder_name
from kdbias.config.errors import ArgumentError
from kdbias.functional.precision import has_float64
from kdbias.probes.base import Probe, Result, refused
from kdbias.probes.reasons import by_epoch, said, why
from kdbias.probes.telling import listening, tell
from kdbias.runs.clock import Pulse
from kdbias.stress.split import StressedSplit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawing = Callable[[Sequence[Result]], "Figure"]
PATIENCE = timedelta(days=1)
"""How long the other processes wait for rank 0's probe."""


@builder("callback")
class ProbeCallback(Callback):
    """Run a probe on the student at the end of validation, every ``every`` epochs and in the last one.

    The probe reads the weights that validation sees: the average, once averaging has begun. ``initial`` also probes
    the untrained student, as epoch 0. The images are the first ``images`` of the validation split. ``figure`` names a
    function from the Results so far, in order, to a figure. A probe that takes ``source``, ``data``, ``stressed`` or
    ``teacher`` gets those of the run; stress sets lie in a temporary folder.

    Each Result goes to ``<run>/probes/<name>-epoch<k>.{json,npz}`` after ``k`` epochs, its scalars to every logger as
    ``probe/<name>/<scalar>``, and the figure to TensorBoard; its module is imported then. Training with and without the
    callback is the same, bit for bit: modes, kernels and random numbers are restored. If a run stops early, its last
    epoch is probed only if ``every`` divides it.

    A probe that cannot measure never ends a training, whatever the reason (``kdbias.probes.reasons.why``). Its Result
    is empty and states the reason, a line states it once, ``refusals`` repeats it at the end, and figures leave the
    Result out. The same holds for a Result that cannot be written and for a figure that cannot be drawn. Only a broken
    device ends the training.

    Rank 0 alone probes, on all images, so the number of processes changes nothing. The others wait for it in a process
    group of their own (gloo, a day), because a probe may last longer than the timeout of the training's collectives
    (30 minutes with ``strategy: ddp``). An error that ends the training ends all processes.
    """

    def __init__(
        self,
        name: str,
        probe: Mapping[str, Any] | Probe,
        every: int = 10,
        images: int = 1024,
        figure: str | None = None,
        initial: bool = True,
    ) -> None:
        if not is_folder_name(name):
            raise ArgumentError("name", f"{FOLDER_NAME}, got {name!r}")
        self.name, self.every, self.images, self.initial = name, every, images, initial
        if figure is not None and not written(figure, "figure"):
            target({"_target_": figure}, "figure")
        self.figure: str | Drawing | None = figure  # imported as it is drawn: most runs never import matplotlib
        self._group: dist.ProcessGroup | None = None
        self._node: Mapping[str, Any] | None = None
        self._takes: set[str] = set()
        self._needs: set[str] = set()
        self._said: set[str] = set()
        self.probe: Probe | None = None
        if isinstance(probe, Mapping):
            takes = signature(target(probe, "probe")).parameters
            self._takes = {"source", "data", "stressed", "teacher"} & takes.keys()
            self._needs = {key for key in self._takes if takes[key].default is Parameter.empty}
            self._node, self.probe = probe, None if self._takes else build(probe, group="probe")
        else:
            self.probe = probe

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build the probe from the parts of the run that it takes, and make the process group.

        Raises:
            ValueError: the probe takes a teacher and there is none, or there are fewer validation images than
                processes (a process without a batch would never reach the probe).
        """
        if self._node is not None and self._takes:
            data, teacher = trainer.datamodule, getattr(pl_module, "teacher", None)  # type: ignore[attr-defined]
            if teacher is None and "teacher" in self._needs:
                raise ValueError(
                    f"callback.probe_{self.name} compares with a teacher, and the run has none: leave it out"
                )
            stressed = StressedSplit(data.source, "val", self.images)
            run = {"source": data.source, "data": data, "stressed": stressed, "teacher": teacher}
            self.probe = build(self._node, group="probe", **{key: run[key] for key in self._takes - self._node.keys()})
        if dist.is_available() and dist.is_initialized() and (world := dist.get_world_size()) > 1:
            count: int = trainer.datamodule.count("val")  # type: ignore[attr-defined]
            if 0 < count < world:
                raise ValueError(
                    f"callback.probe_{self.name}: {count} validation images for {world} processes: raise data.val or "
                    "lower trainer.devices"
                )
            self._group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PATIENCE))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Probe the untrained student."""
        if self.initial and trainer.global_step == 0:
            self._run(trainer, pl_module, epoch=0, weights="initial")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Probe after the last validation batch.

        ``on_validation_epoch_end`` would be too late: there the order of the callbacks decides whether averaged
        weights are still in place.
        """
        counts = trainer.num_val_batches
        last = dataloader_idx + 1 == len(counts) and batch_idx + 1 == counts[dataloader_idx]
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not last:
            return
        epoch = trainer.current_epoch + 1
        if due(trainer, self.every):
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            averaged = any(isinstance(other, Averaging) and other.begun for other in callbacks)
            self._run(trainer, pl_module, epoch=epoch, weights="averaged" if averaged else "current")

    def _run(self, trainer: Trainer, pl_module: LightningModule, *, epoch: int, weights: str) -> None:
        """Probe in process 0; the others wait for the outcome, and raise an error if it failed."""
        if self._group is None:
            if trainer.is_global_zero:
                self._probe(trainer, pl_module, epoch, weights)
            return
        failure: list[str | None] = [None]
        try:
            if trainer.is_global_zero:
                self._probe(trainer, pl_module, epoch, weights)
        except Exception as error:
            failure = [f"{type(error).__name__}: {said(error)}"]
            raise
        finally:
            dist.broadcast_object_list(failure, 0, self._group)
        if failure[0] is not None:
            raise RuntimeError(f"callback.probe_{self.name} failed in process 0: {failure[0]}")

    def _probe(self, trainer: Trainer, pl_module: LightningModule, epoch: int, weights: str) -> None:
        assert self.probe is not None
        folder, device = Path(trainer.default_root_dir) / "probes", pl_module.device
        devices = [device] if device.type == "cuda" else []
        on = device if has_float64(device) else torch.device("cpu")
        with torch.random.fork_rng(devices), torch.inference_mode(False):
            batches = trainer.datamodule.batches("val", on, limit=self.images)  # type: ignore[attr-defined]
            pulse = Pulse()
            try:
                with listening(lambda what, done, total: pulse.beat(lambda: _so_far(self.name, what, done, total))):
                    student = _measurable(cast(nn.Module, pl_module.student), device)
                    result = self.probe(student, _told(batches))  # type: ignore[arg-type]
            except Exception as error:
                reason = why(error)
                result = refused(self.name, reason)
                self._say(f"probe {self.name}: refused, {reason}")
        meta = result.meta | {"epoch": epoch, "step": trainer.global_step, "weights": weights}
        try:
            replace(result, name=f"{self.name}-epoch{epoch}", meta=meta).save(folder)
        except Exception as error:
            self._say(f"probe {self.name}: not saved, {why(error)}")
        scalars = {f"probe/{self.name}/{key}": value for key, value in result.scalars.items()}
        for logger in trainer.loggers if scalars else ():
            logger.log_metrics(scalars, step=trainer.global_step)
        if self.figure is not None and not result.refused:
            try:
                self._draw(trainer, history(folder, self.name, until=epoch))
            except Exception as error:
                self._say(f"probe {self.name}: no figure, {why(error)}")

    def refusals(self, folder: str | Path) -> dict[str, str]:
        """Give, by name, the reason why some epochs of the run in ``folder`` have no Result; empty if all have one."""
        found: dict[str, list[int]] = {}
        for result in kept(Path(folder) / "probes", self.name):
            if result.refused:
                found.setdefault(result.refused, []).append(result.meta.get("epoch", -1))
        return {f"probe {self.name}": by_epoch(found)} if found else {}

    def _say(self, line: str) -> None:
        if line not in self._said:
            print(line, flush=True)
        self._said.add(line)

    def _draw(self, trainer: Trainer, results: Sequence[Result]) -> None:
        boards = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
        if not boards or self.figure is None:
            return
        draw: Drawing = target({"_target_": self.figure}, "figure") if isinstance(self.figure, str) else self.figure
        for board in boards:
            board.experiment.add_figure(f"probe/{self.name}", draw(results), trainer.global_step)


def _measurable(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, or a copy on the CPU where its ``device`` lacks the float64 that probes compute in.

    A teacher goes where its images are.
    """
    return network if has_float64(device) else deepcopy(network).cpu()


def _told(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Tell how many batches a probe has read, before each: the pass may be long."""
    for place, batch in enumerate(batches):
        tell("batches", place)
        yield batch


def _so_far(name: str, what: str, done: int, total: int | None) -> str:
    return f"probe {name}: {done} {what}" if total is None else f"probe {name}: {done} of {total} {what}"


def history(folder: str | Path, name: str, until: int | None = None) -> list[Result]:
    """Read the Results that a ``ProbeCallback`` left in ``folder``, in the order of epochs, up to the epoch ``until``.

    Epochs in which the probe could not measure are left out.
    """
    return [result for result in kept(folder, name, until) if not result.refused]


def kept(folder: str | Path, name: str, until: int | None = None) -> list[Result]:
    """Read all Results that a ``ProbeCallback`` left in ``folder``, in the order of epochs, with those without numbers.

    A file that cannot be read is named and left out, because a diagnostic must not end a training.
    """
    found: dict[int, Path] = {}
    for path in Path(folder).glob(f"{glob.escape(name)}-epoch*.json"):
        epoch = path.stem.rpartition("-epoch")[2]
        if epoch.isdecimal() and (until is None or int(epoch) <= until):
            found[int(epoch)] = path
    results = []
    for _, path in sorted(found.items()):
        try:
            results.append(Result.load(folder, path.stem))
        except (OSError, ValueError) as error:
            print(f"{path} is damaged ({error}): left out", flush=True)
    return results
