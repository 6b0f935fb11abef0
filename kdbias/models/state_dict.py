"""The state dict in what a file holds: found, freed of the prefixes of wrappers, its tensors such as can be loaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdbias.models.weights_file import WeightsError

OWN = "student.network."  # where a checkpoint of this package has its network
EXTRACTOR = "network."
PLACES = (  # where checkpoints keep weights; those of training itself before their averages
    *("state_dict", "model", "net", "network", "model_state_dict"),
    *("state_dict_ema", "model_ema", "ema"),
)
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel, an averaged model; torch.compile
COUNTER = "n_averaged"  # of torch's AveragedModel
DEEPEST = 4  # mappings around a state dict
LOADED = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)


def state_dict(content: Any, what: str, size: int) -> dict[str, Tensor]:
    """Give the tensors by name in ``content``, as a file of ``size`` bytes holds it; ``what`` names it in errors.

    Where there are several state dicts, as of an average beside the weights, the first of ``PLACES`` is taken, with a
    warning that says so.

    Raises:
        ValueError: there is none, or a tensor in it is none that can be loaded.
    """
    for _ in range(DEEPEST):
        found = [p for p in PLACES if isinstance(content, Mapping) and isinstance(content.get(p), Mapping)]
        found = [place for place in found if content[place]]
        if not found:
            break
        if len(found) > 1:
            warnings.warn(f"{what} has weights at {', '.join(found)}: those at {found[0]} are taken", stacklevel=3)
        content = content[found[0]]
    remedy = "give a .safetensors or .ckpt file"
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{what} holds no state dict, it is {_kind(content)}: {remedy}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{what} holds no state dict: {str(name)[:60]!r} in it is {_kind(value)}: {remedy}")
    _require_loadable(content, what, size)
    return unwrapped(content)


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Free names of what wrappers put before them: where all have it, and again until none has.

    >>> list(unwrapped({"module._orig_mod.head.bias": torch.zeros(1), "n_averaged": torch.zeros(())}))
    ['head.bias']
    """
    left, inside = dict(state), False
    while True:
        names = [name for name in left if name != COUNTER]
        prefix = next((w for w in WRAPPERS if names and all(name.startswith(w) for name in names)), None)
        if prefix is None and not inside:
            inside = True
            own = any(name.startswith(OWN) for name in names)
            prefix = OWN if own else EXTRACTOR if names and all(name.startswith(EXTRACTOR) for name in names) else None
        if prefix is None:
            return left
        left = {name.removeprefix(prefix): value for name, value in left.items() if name.startswith(prefix)}


def require_values(state: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights with which no network computes: NaN, infinity, a negative variance of batch normalisation.

    Raises:
        ValueError: there are some; names the first tensor, and how many there are.
    """
    bad = {name: count for name, value in state.items() if (count := _not_finite(value))}
    if bad:
        raise WeightsError(
            f"{what}: the weights have NaN or infinity in {len(bad)} of {len(state)} tensors, first {next(iter(bad))} "
            f"({next(iter(bad.values()))} values): their training failed, or the file is damaged; take other weights"
        )
    low = [name for name, v in state.items() if name.endswith("running_var") and v.numel() and v.min() < 0]
    if low:
        raise WeightsError(
            f"{what}: the weights have negative variances in {len(low)} tensors, first {low[0]} "
            f"({int((state[low[0]] < 0).sum())} values): the file is damaged; take other weights"
        )


def _require_loadable(state: Mapping[str, Tensor], what: str, size: int) -> None:
    for name, value in state.items():
        kind = ""
        if value.layout != torch.strided:
            kind = "sparse"
        elif value.is_quantized or value.dtype not in LOADED:
            kind = f"of the type {str(value.dtype).removeprefix('torch.')}"
        elif value.device.type != "cpu":
            kind = f"without values ({value.device.type})"
        if kind:
            raise WeightsError(
                f"{what}: its tensor {name} is {kind}, which no network here has: give weights as dense real numbers"
            )
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > 2 * size:  # tied weights are stored once
        raise WeightsError(
            f"{what}: its tensors claim {claimed:,} bytes, and the file has {size:,}: it is damaged or made to fill "
            "the memory; take other weights"
        )


def _not_finite(value: Tensor) -> int:
    """How many values of a tensor are NaN or infinite as float32; the usual case costs no memory."""
    if not value.is_floating_point() or value.numel() == 0:
        return 0
    value = value.float() if value.dtype in (torch.float64, torch.float8_e4m3fn, torch.float8_e5m2) else value
    low, high = value.aminmax()
    return 0 if torch.isfinite(low) and torch.isfinite(high) else int((~torch.isfinite(value)).sum())


def _kind(value: Any) -> str:
    """Say what a value is: the keys of a mapping tell most."""
    if isinstance(value, Mapping):
        keys = ", ".join(str(key)[:30] for key in list(value)[:5])
        return f"a mapping of {keys}" if keys else "an empty mapping"
    return f"of the type {type(value).__name__}"
