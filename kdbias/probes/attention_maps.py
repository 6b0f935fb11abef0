"""The attention maps of a live network, whatever kernel it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from kdbias.late import eagerly
from kdbias.models.attention_path import attention_modules, unfused


def attention_layers(network: nn.Module) -> list[nn.Module]:
    """List the attention modules of ``network`` by depth.

    Raises:
        ValueError: there is none.
    """
    found = _with_maps(network)
    if not found:
        raise ValueError("the network has no attention modules to read: attention maps are not defined for a CNN")
    return found


def has_attention_maps(network: nn.Module) -> bool:
    """Whether ``network`` has attention modules whose maps can be read."""
    return bool(_with_maps(network))


@contextmanager
def attention_maps(network: nn.Module, receive: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Hand each attention map to ``receive(layer, map)`` as the network computes it; nothing is kept.

    ``map`` is ``(B, H, T, T)``, after the softmax and before dropout; ``layer`` counts the attention modules by
    depth. Inside, the fused kernels are off, since they never make the map. A compiled network runs eagerly, since
    compiled code ignores new hooks. All of this is undone on exit, also after an error. The network's mode and device
    must not change inside.

    Raises:
        ValueError: the network has no attention modules, or one whose map never came.
    """
    modules = attention_layers(network)
    seen: set[int] = set()
    with ExitStack() as stack:
        stack.enter_context(unfused(network))
        for layer, module in enumerate(modules):
            hook = partial(_hand_over, layer=layer, seen=seen, receive=receive)
            handle = module.attn_drop.register_forward_pre_hook(hook)  # type: ignore[union-attr]
            stack.callback(handle.remove)
        stack.enter_context(eagerly())
        yield
    missing = sorted(set(range(len(modules))) - seen)
    if missing:
        raise ValueError(
            f"no attention map came from {len(missing)} of {len(modules)} attention modules (layers {missing}): "
            "either no image was shown, or they run a kernel that never makes the map"
        )


def _with_maps(network: nn.Module) -> list[nn.Module]:
    """List the modules that compute a map and pass it through dropout, where it is read."""
    return [m for m in attention_modules(network) if isinstance(getattr(m, "attn_drop", None), nn.Module)]


def _hand_over(
    module: nn.Module, inputs: tuple[Any, ...], *, layer: int, seen: set[int], receive: Callable[[int, Tensor], None]
) -> None:
    seen.add(layer)
    receive(layer, inputs[0].detach())
