"""BatchNorm statistics of weights that were not trained with them, such as averaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import islice
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from kdbias.late import eagerly


def has_batchnorm(network: nn.Module) -> bool:
    """Say whether ``network`` has statistics to compute; those of a frozen trunk stay as they are."""
    return any(
        isinstance(module, _BatchNorm) and (module.weight is None or module.weight.requires_grad)
        for module in network.modules()
    )


def _resting(network: nn.Module) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """The BatchNorms that training leaves in evaluation mode, each with its statistics."""
    mode = network.training
    network.train()
    found: list[tuple[nn.Module, dict[str, Tensor]]] = [
        (module, {name: buffer.clone() for name, buffer in module.named_buffers()})
        for module in network.modules()
        if isinstance(module, _BatchNorm) and not module.training
    ]
    network.train(mode)
    return found


@torch.no_grad()
def recompute_batchnorm(
    trainer: Trainer, network: nn.Module, batches: int, seen: Callable[[Tensor, int], Tensor]
) -> None:
    """Give ``network`` the statistics of its present weights on the first ``batches`` batches of this training epoch.

    ``seen`` gives what the network is trained on from a batch's images ``(B, C, S, S)`` and its number in the epoch.
    It runs eagerly, in the precision of training. The state of the random generators does not change. The statistics
    are averaged over processes, so that all processes have the same. Those of a frozen trunk stay as they are.
    """
    device = trainer.strategy.root_device

    def images() -> Iterator[Tensor]:
        loader = copy(trainer.train_dataloader)  # the place in the data that a checkpoint keeps is the original's
        for step, batch in enumerate(islice(cast(Iterable[Any], loader), batches)):
            yield seen(trainer.strategy.batch_to_device(batch, device)[0], step)

    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        eagerly(),
        trainer.precision_plugin.forward_context(),
    ):
        resting = _resting(network)
        update_bn(images(), network)
    for module, kept in resting:
        module.load_state_dict(kept, strict=False)
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(trainer.strategy.reduce(module.running_mean, reduce_op="mean"))
            module.running_var.copy_(trainer.strategy.reduce(module.running_var, reduce_op="mean"))
