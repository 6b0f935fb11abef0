"""What every training of a student shares: clock, seeds of the steps, logging of the loss, optimiser, clipping."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import build
from kdbias.config.spec import Tree
from kdbias.data.base import ImageData
from kdbias.models.channels_last import compile_in_place, to_channels_last
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.models.weights import load_state
from kdbias.modules.compile_trial import Trial
from kdbias.modules.optim import clip_gradients, configure, step_size
from kdbias.modules.schedules import step_plateaus


def step_seed(seed: int, rank: int, step: int) -> int:
    """Mix seed, rank and step into one 62-bit seed: what a step draws does not depend on the steps before it."""
    mixed = sum(part * prime for part, prime in zip((seed, rank, step), _PRIMES, strict=True))
    wrapped = (mixed + 2**63) % 2**64 - 2**63  # as int64 sums, which seeds of runs have always been
    return abs(wrapped) % 2**62


REMEDY = "lower optim.optimizer.lr, set optim.clip, or train with trainer.precision=32-true"
_PRIMES = (1_000_003, 7_368_787, 2_147_483_647)


class StudentModule(L.LightningModule):
    """Train a network; a subclass implements ``training_step`` and ``validation_step``.

    A run saves, probes and tests ``student``. A training step passes its loss and parts to ``record``.

    Args:
        spec: plain types only, with ``model``, ``optim`` (each a ``_target_`` with its arguments), ``data``
            (``DataInfo.to_dict()``), ``seed`` and ``channels_last``; kept in the checkpoint, from which
            ``kdbias.load_student`` builds the student again.

    Raises:
        FloatingPointError: the loss is not finite; names the step and the parts.
    """

    sums_terms: ClassVar[bool] = False  # whether the loss is the sum of the terms of loss=[...]
    metrics: ClassVar[frozenset[str]] = frozenset()  # what it logs of the validation split
    teacher: Teacher | None = None
    stopped: str | None = None  # why training ended early, if it failed

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters({"spec": spec})
        self.spec = spec
        self.info = DataInfo.from_dict(spec["data"])
        self.student: Extractor = build(spec["model"], self.info, group="model")
        self._began: float | None = None
        self._seconds_before = 0.0
        self._logged_before: dict[str, float] = {}
        self._parts: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._trial: Trial | None = None
        self._validated = False

    @classmethod
    def prepared(cls, tree: Tree, teacher: Teacher | None, data: ImageData, device: torch.device) -> Tree:
        """Make on ``device`` what training needs first, and give the config that names it; unchanged by default.

        It is called before the module is built and before the processes of a run join. So several may call it at once.
        """
        return tree

    def start_from(self, state: Mapping[str, Tensor], key: str) -> None:
        """Give the student the weights ``state``, by the names of its network; a classifier that does not fit is fresh.

        Raises:
            ValueError: as ``load_state``; the message names ``key``.
        """
        load_state(self.student, state, key, fresh_head=True)

    def seen(self, image: Tensor, step: int) -> Tensor:
        """Give the images that the student sees in the training step ``step`` of an epoch, whose batch has ``image``.

        BatchNorm's statistics are computed from them again where weights are averaged.
        """
        return image

    def setup(self, stage: str) -> None:
        """Put what convolves into channels-last order, and compile both networks, in place and before DDP wraps it.

        ``kdbias.models.channels_last`` says which networks keep their order. With ``compile=auto`` a run of one process
        tries compiling after its first steps.
        """
        if self.spec.get("channels_last") and self.student.info.convolves:
            to_channels_last(self.student)
        wanted = self.spec.get("compile") if stage == "fit" else False
        if wanted == "auto" and self.trainer.world_size == 1:
            self._trial = Trial(self.networks(), self._batches_left, self.trainer.strategy.root_device)
        elif wanted == "auto":
            if self.trainer.is_global_zero:
                print("compile=auto: not tried: it is for one process, give compile=true or false", flush=True)
        elif wanted:
            for network in self.networks():
                compile_in_place(network)

    def networks(self) -> list[nn.Module]:
        """Give the networks whose forward passes a step has: student and teacher."""
        return [self.student, *([self.teacher.extractor] if self.teacher is not None else [])]

    def _batches_left(self) -> int:
        steps = int(self.trainer.estimated_stepping_batches) - self.global_step
        return steps * int(self.trainer.accumulate_grad_batches)

    @property
    def progress(self) -> float:
        """The part of training done, 0 to 1, by steps."""
        return min(1.0, self.global_step / max(1, int(self.trainer.estimated_stepping_batches)))

    @property
    def seconds(self) -> float:
        """Seconds of training and validation so far, including those before a resumed checkpoint."""
        return self._seconds_before + (time.perf_counter() - self._began if self._began is not None else 0.0)

    @property
    def logged(self) -> dict[str, float]:
        """The last logged value of each name, including values from before a resumed checkpoint."""
        return {**self._logged_before, **{key: float(value) for key, value in self.trainer.callback_metrics.items()}}

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the time spent so far, the last logged values, and whether training has failed."""
        checkpoint["seconds"] = self.seconds
        checkpoint["metrics"] = self.logged
        checkpoint["stopped"] = self.stopped
        checkpoint["validated"] = self._validated

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the resumed run's planned steps, its time, its logged values, and whether it had failed."""
        self._seconds_before = float(checkpoint.get("seconds", 0.0))
        self._logged_before = dict(checkpoint.get("metrics", {}))
        self.stopped = checkpoint.get("stopped")
        self._validated = bool(checkpoint.get("validated", False))
        self.spec["steps"] = checkpoint["hyper_parameters"]["spec"].get("steps")

    def on_train_start(self) -> None:
        """Go on at the image where the checkpoint was saved, unless the run had failed.

        Training on would not repair a failed run, and it would look finished. Lightning restores the loader's place
        only when it makes the loader, and the plan of the steps had it made before the checkpoint was read.
        """
        if self.stopped is not None:
            self.trainer.should_stop = True
        self.trainer.fit_loop._load_combined_loader_states()  # nothing where there is no place to restore

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed this step by (seed, rank, step); this alone makes a resumed run bit-identical."""
        if self._trial is not None:
            self._try_compiled(self._trial)
        self.student.choose_path()  # after validation the trainer sets modes back one by one, not by ``train``
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        seed = step_seed(int(self.spec["seed"]), self.global_rank, step)
        if self.device.type == "cpu":  # torch.manual_seed records the stack for each accelerator: 2 ms a step
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _try_compiled(self, trial: Trial) -> None:
        trial.before_step()
        if trial.over:
            print(f"compile=auto: {trial.said}", flush=True)
            self._trial = None

    def backward(self, loss: Tensor, *args: Any, **settings: Any) -> None:
        """Go back from a batch's loss, so that a step has the mean gradient of its batches.

        Lightning divides every loss by ``trainer.accumulate``, and the last step of an epoch may have fewer batches.
        """
        accumulate = int(self.trainer.accumulate_grad_batches)
        size = step_size(self.trainer.fit_loop.epoch_loop.batch_idx, self.trainer.num_training_batches, accumulate)
        super().backward(loss if size == accumulate else loss * (accumulate / size), *args, **settings)

    def record(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        """Add a step's loss and its detached parts to the epoch's means; on a CPU, check that the loss is finite."""
        for name, value in {"total": loss.detach(), **parts}.items():
            self._parts[name] = self._parts[name] + value if name in self._parts else value
            self._counts[name] = self._counts.get(name, 0) + 1
        if loss.device.type == "cpu":  # on other devices the check waits for the device, so only logged steps do it
            self.require_finite(loss, parts)

    def logs_step(self, batch_idx: int) -> bool:
        """Whether this step's values go to the loggers: every ``trainer.log_every`` steps and the last of an epoch."""
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        return (self.global_step + 1) % every == 0 or batch_idx + 1 == self.trainer.num_training_batches

    def log_step(self, loss: Tensor, parts: dict[str, Tensor], size: int) -> None:
        """Log a step's loss, its parts and the learning rate."""
        self.require_finite(loss, parts)
        self.log("train/loss_step", loss, prog_bar=True, batch_size=size)
        for name, value in parts.items():  # the progress bar shows terms, not their layers
            self.log(f"loss/{name}", value, prog_bar="/" not in name, batch_size=size)
        found = self.optimizers(use_pl_optimizer=False)
        optimizer = found[0] if isinstance(found, list) else found  # the student's comes first
        self.log("lr", optimizer.param_groups[0]["lr"], batch_size=size)

    def require_finite(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        """Raise ``FloatingPointError`` unless the loss is finite."""
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {float(value):.4g}" for name, value in parts.items())
            raise FloatingPointError(
                f"the loss is {float(loss.detach())} at step {self.global_step} ({values}): {REMEDY}"
            )

    def on_validation_end(self) -> None:
        """Note that this epoch has values of the validation split."""
        self._validated = self._validated or not self.trainer.sanity_checking

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, and show a plateau schedule its metric before any callback saves the epoch.

        A loss that is not finite anywhere in the epoch ends the run.
        """
        means = {name: value / self._counts[name] for name, value in self._parts.items()}
        self._parts, self._counts = {}, {}
        bad = [name for name, value in means.items() if not torch.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"epoch {self.current_epoch}: {', '.join(bad)} not finite; lower optim.optimizer.lr"
            )
        self.log("train/loss", means.pop("total"), sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in means.items()}, sync_dist=True)
        plateaus = [schedule for schedule in self.schedules() if isinstance(schedule, ReduceLROnPlateau)]
        if plateaus and self._validated:
            step_plateaus(plateaus, self.spec["optim"]["schedule"]["monitor"], self.logged)
        self._validated = False

    def schedules(self) -> list[LRScheduler | ReduceLROnPlateau]:
        """Give the schedules of the learning rate, one for each optimiser that has one."""
        found = self.lr_schedulers()
        return [] if found is None else found if isinstance(found, list) else [found]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and schedule of ``optim``."""
        return cast(OptimizerLRScheduler, configure(self.spec["optim"], self, self.planned_steps()))

    def planned_steps(self) -> int:
        """Give the optimiser steps of the whole training; the number goes into the spec, for resume to compare.

        Raises:
            ValueError: the resumed run was planned for another number.
        """
        steps = int(self.trainer.estimated_stepping_batches)
        before = self.spec.get("steps")
        if before is not None and before != steps:
            raise ValueError(
                f"this run was planned for {before} steps and now has {steps}: epochs and batch_size must stay"
            )
        self.spec["steps"] = steps
        return steps

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by ``optim.clip``; the trainer's own clipping refuses fused AdamW under bf16-mixed."""
        if self.spec["optim"].get("clip"):
            clip_gradients(optimizer, float(self.spec["optim"]["clip"]))
