"""From the ``trainer`` node of a config to Lightning's ``Trainer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import nn

from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.modules.checkpoint_io import WholeCheckpoints
from kdbias.modules.heartbeat import Heartbeat
from kdbias.modules.meeting import Meeting


def fast_bf16(accelerator: str) -> bool:
    """Whether bf16 matrix products are faster than fp32 ones on this device.

    A CPU needs AVX512-BF16 or AMX; without them bf16 is emulated and many times slower.
    """
    if accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if accelerator in ("cpu", "auto"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def choose_precision(precision: str, accelerator: str) -> str:
    """Resolve ``auto`` to ``bf16-mixed`` if that is fast, else to ``32-true``."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if fast_bf16(accelerator) else "32-true"


def require_device(accelerator: str | None) -> None:
    """Raise ``ArgumentError`` if a GPU is requested and there is none."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        text = f"is {accelerator} and no GPU is there: use trainer=cpu or trainer=auto"
        raise ArgumentError("accelerator", text, of="trainer")


@builder("trainer")
def trainer(
    *,
    run: str,
    epochs: int,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    accelerator: str = "auto",
    devices: int | str | Sequence[int] = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    sync_batchnorm: bool = False,
    precision: str = "auto",
    accumulate: int = 1,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    limit_test_batches: int | float | None = None,
    val_every: int | float = 1,
    log_every: int = 50,
    tf32: bool = True,
    deterministic: bool = False,
    channels_last: bool | str = "auto",
    timeout: float = 300.0,
) -> L.Trainer:
    """Build the trainer of one run, which writes under the folder ``run``.

    ``val_every`` counts epochs; below 1 it is a part of an epoch. ``channels_last`` is read by the module, not here.
    ``timeout`` are the seconds without a sign of life after which one of several processes counts as lost, and all end;
    before they have met, they wait for each other 60 s longer.

    Raises:
        ValueError: ``accelerator=gpu`` without a GPU.
    """
    require_device(accelerator)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    intervals: dict[str, Any] = (
        {"val_check_interval": float(val_every)} if val_every < 1 else {"check_val_every_n_epoch": int(val_every)}
    )
    meeting = Meeting(timeout)
    found = L.Trainer(
        default_root_dir=run,
        max_epochs=epochs,
        callbacks=[*callbacks, Heartbeat(timeout, meeting)],
        logger=list(loggers),
        accelerator=accelerator,
        devices=devices if isinstance(devices, int | str) else list(devices),
        num_nodes=num_nodes,
        strategy=strategy,
        plugins=[WholeCheckpoints(), *([SyncedBatchNorm()] if sync_batchnorm else [])],
        precision=choose_precision(precision, accelerator),  # type: ignore[arg-type]
        accumulate_grad_batches=accumulate,
        limit_train_batches=limit_train_batches,
        limit_val_batches=limit_val_batches,
        limit_test_batches=limit_test_batches,
        log_every_n_steps=log_every,
        deterministic=deterministic or _off(),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),  # without, none of Lightning's own
        **intervals,
    )
    meeting.attach(found.strategy)
    return found


class SyncedBatchNorm(LayerSync):
    """Batch normalisation over the images of all processes, including timm's layers with an activation.

    torch's own conversion, which the trainer would use, loses the activation inside ``BatchNormAct2d``.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert the network."""
        return cast(nn.Module, convert_sync_batchnorm(model))  # type: ignore[no-untyped-call]

    def revert(self, model: nn.Module) -> nn.Module:
        """Give the network unchanged: its state dict is the same."""
        return model


def _off() -> bool | None:
    """Give what turns deterministic kernels off: nothing where they are off, for torch would import its compiler."""
    return False if torch.are_deterministic_algorithms_enabled() else None
