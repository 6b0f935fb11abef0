"""Averages of the student's weights over the end of training.

Lightning's ``WeightAveraging`` copies the whole module before it is on its device. Until the first update, validation
and checkpoints get this untrained copy. Here only the student is averaged, on its own device. Until averaging begins
there is no average, and validation and checkpoints have the current weights.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kdbias.callbacks.batchnorm import has_batchnorm, recompute_batchnorm
from kdbias.config.build import builder

PREFIX = "student."
State = dict[str, Tensor]


class Averaging(Callback):
    """Keep an average of ``module.student`` from the part ``begin`` of training on, after every optimiser step.

    Validation sees the average, and at the end of training the student has it. A checkpoint has the average in
    ``state_dict``, the raw weights in ``current_model_state`` (Lightning's names) and the count in ``averaging_state``;
    a resumed run continues from the raw weights, bit for bit. The schedule of the learning rate is left alone.

    Args:
        begin: part of training, in [0, 1), before averaging begins.
        bn_batches: training batches from which BatchNorm's statistics are computed again whenever averaged weights are
            about to be used; 0 averages the statistics like weights.

    Raises:
        ValueError: a number is out of range, or the trainer has two averages.
    """

    def __init__(self, begin: float, bn_batches: int) -> None:
        self.begin, self.bn_batches = begin, bn_batches
        self._average: State | None = None
        self._raw: State | None = None
        self._stale = False
        self._count = self._step = self._first = 0

    @abstractmethod
    def share(self, count: int) -> float:
        """Give the share of the current weights in the average that ``count`` earlier states are in."""

    @property
    def begun(self) -> bool:
        """Whether there is an average, which validation and checkpoints then have."""
        return self._average is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start without an average."""
        if sum(isinstance(callback, Averaging) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("callback: ema and swa are both selected, and weights can be averaged in one way only")
        if stage == "fit":
            self._average, self._raw, self._stale, self._count = None, None, False, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fix where averaging begins, and move what a checkpoint gave to the student's device."""
        self._step = trainer.global_step
        self._first = int(self.begin * planned_batches(trainer))
        if self._average is not None:
            current = _state(pl_module)
            self._average = {name: value.to(current[name].device) for name, value in self._average.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights into the average, if the batch ended an optimiser step and averaging has begun."""
        stepped = trainer.global_step > self._step
        self._step = trainer.global_step
        if stepped and trainer.fit_loop.epoch_loop.total_batch_idx >= self._first:
            self._update(_state(pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the student."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._show(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        if trainer.state.fn == TrainerFn.FITTING and self._raw is not None:
            _write(self._raw, pl_module)
            self._raw = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the student."""
        self._show(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Give the checkpoint both the average and the raw weights."""
        if self._average is None:
            return
        raw = checkpoint["state_dict"] | _prefixed(self._raw or {})
        checkpoint["current_model_state"] = raw
        checkpoint["state_dict"] = raw | _prefixed(self._average)
        checkpoint["averaging_state"] = {"count": self._count, "stale": self._stale}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up the average again and give the student the raw weights, to train on; tests get the average."""
        if trainer.state.fn != TrainerFn.FITTING or "averaging_state" not in checkpoint:
            return
        names = [name for name in checkpoint["state_dict"] if name.startswith(PREFIX)]
        self._average = {name.removeprefix(PREFIX): checkpoint["state_dict"][name].clone() for name in names}
        self._count, self._stale = checkpoint["averaging_state"]["count"], checkpoint["averaging_state"]["stale"]
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def _update(self, current: State) -> None:
        if self._average is None:
            self._average = {name: value.clone() for name, value in current.items()}
        else:
            floats = [name for name, value in current.items() if value.is_floating_point()]
            mix = get_ema_multi_avg_fn(1.0 - self.share(self._count))  # type: ignore[no-untyped-call]
            mix([self._average[name] for name in floats], [current[name] for name in floats], self._count)
            self._average |= {name: current[name].clone() for name in current.keys() - set(floats)}
        self._count += 1
        self._stale = True

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._average is None or self._raw is not None:
            return
        self._raw = {name: value.clone() for name, value in _state(pl_module).items()}
        _write(self._average, pl_module)
        if self._stale and self.bn_batches and has_batchnorm(_student(pl_module)):
            recompute_batchnorm(trainer, _student(pl_module), self.bn_batches, getattr(pl_module, "seen", _as_it_is))
            self._average = {name: value.clone() for name, value in _state(pl_module).items()}
        self._stale = False


@builder("callback")
class EMA(Averaging):
    """Exponential moving average.

    The decay grows with the number of averaged steps n, as min(decay, (1 + n)/(10 + n)), so that a short run averages
    over its last steps instead of keeping the weights with which averaging began.

    Source: Polyak and Juditsky, 1992; the growing decay: ``num_updates`` of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, decay: float = 0.999, begin: float = 0.8, bn_batches: int = 20) -> None:
        super().__init__(begin, bn_batches)
        self.decay = decay

    def share(self, count: int) -> float:
        """Give 1 minus the decay after ``count`` averaged steps."""
        return 1.0 - min(self.decay, (1 + count) / (10 + count))


@builder("callback")
class SWA(Averaging):
    """Stochastic weight averaging: the mean of the weights of all steps from ``begin`` on.

    Source: Izmailov et al., UAI 2018, arXiv:1803.05407, without its constant learning rate.
    """

    def __init__(self, begin: float = 0.75, bn_batches: int = 20) -> None:
        super().__init__(begin, bn_batches)

    def share(self, count: int) -> float:
        """Give 1/(count + 1)."""
        return 1.0 / (count + 1)


def planned_batches(trainer: Trainer) -> int:
    """Give the batches of the whole training; the last step of an epoch may have fewer than the others."""
    steps, accumulate = int(trainer.estimated_stepping_batches), int(trainer.accumulate_grad_batches)
    if math.isinf(trainer.num_training_batches):  # nobody knows where an epoch ends
        return steps * accumulate
    batches = int(trainer.num_training_batches)
    return steps * batches // math.ceil(batches / accumulate)


def _student(pl_module: LightningModule) -> nn.Module:
    return pl_module.get_submodule(PREFIX.removesuffix("."))


def _as_it_is(image: Tensor, step: int) -> Tensor:
    return image


def _state(pl_module: LightningModule) -> State:
    """Parameters and persistent buffers of the student; the tensors themselves, not copies."""
    return dict(_student(pl_module).state_dict())


def _write(state: State, pl_module: LightningModule) -> None:
    for name, value in _state(pl_module).items():
        value.copy_(state[name])


def _prefixed(state: State) -> State:
    return {PREFIX + name: value for name, value in state.items()}
