"""The weight of a loss term as a function of training progress, declared in yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

# What each kind must have, and what it may have.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "linear": (("start", "end"), ("begin", "until")),
    "cosine": (("start", "end"), ("begin", "until")),
    "warmup": (("value", "until"), ("begin",)),
    "step": (("values", "at"), ()),
}


@dataclass(frozen=True)
class Schedule:
    """A weight >= 0 for each progress in 0..1: ``values`` reached at the places ``at``, with a shape between them.

    ``hold`` keeps a value until the next place, ``linear`` and ``cosine`` interpolate. Before the first place the first
    value holds, after the last place the last one. ``complement`` gives 1 - value. ``Schedule.of`` usually makes it.
    """

    values: tuple[float, ...]
    at: tuple[float, ...]
    shape: Literal["hold", "linear", "cosine"] = "hold"
    complement: bool = False

    def __post_init__(self) -> None:
        if len(self.values) != len(self.at) or not self.values:
            raise ValueError(f"a schedule needs one place for each value, got values {self.values} at {self.at}")
        if any(a >= b for a, b in pairwise(self.at)) or not all(0 <= a <= 1 for a in self.at):
            raise ValueError(f"the places of a schedule must rise within 0..1 (parts of training), got {self.at}")
        low = min(1 - v if self.complement else v for v in self.values)
        if not low >= 0 or not all(math.isfinite(v) for v in self.values):
            raise ValueError(f"a weight must be finite and >= 0, got {low} from the values {self.values}")

    def __call__(self, progress: float) -> float:
        """Give the weight at ``progress`` (0 = first step, 1 = end of training)."""
        value = self._value(progress)
        return 1.0 - value if self.complement else value

    def _value(self, progress: float) -> float:
        after = next((i for i, place in enumerate(self.at) if progress < place), len(self.at))
        if after == 0 or after == len(self.at) or self.shape == "hold":
            return self.values[max(after - 1, 0)]
        (a, b), (low, high) = self.values[after - 1 : after + 1], self.at[after - 1 : after + 1]
        part = (progress - low) / (high - low)
        if self.shape == "cosine":
            part = (1 - math.cos(math.pi * part)) / 2
        return a + (b - a) * part

    @classmethod
    def of(cls, weight: float | Mapping[str, Any]) -> Schedule:
        """Make a schedule from a number, or from a mapping with ``kind`` and the keys of that kind (see ``KEYS``).

        Every kind also takes ``complement: true``.

        Raises:
            ValueError: the kind is unknown, a key is unknown to the kind or missing, a value is not a number, a weight
                is negative, or a place is outside 0..1.

        >>> Schedule.of({"kind": "linear", "start": 0.0, "end": 0.6})(0.5)
        0.3
        >>> Schedule.of({"kind": "step", "values": [0, 1], "at": [0.05]})(0.05)
        1.0
        """
        if not isinstance(weight, Mapping):
            return cls((_number("weight", weight),), (0.0,))
        given = {str(k): v for k, v in weight.items()}
        kind, complement = given.pop("kind", None), given.pop("complement", False)
        if kind not in list(KEYS):  # a list has no hash
            raise ValueError(f"weight.kind must be one of {', '.join(KEYS)}, got {kind!r}")
        _check_keys(kind, given)
        if not isinstance(complement, bool):
            raise ValueError(f"weight.complement must be true or false, got {complement!r}")
        if kind == "step":
            values, at = _numbers("values", given["values"]), _numbers("at", given["at"])
            return cls(values, (0.0, *at), "hold", complement)
        numbers = {k: _number(k, v) for k, v in given.items()}
        if kind == "constant":
            return cls((numbers["value"],), (0.0,), "hold", complement)
        begin, until = numbers.get("begin", 0.0), numbers.get("until", 1.0)
        if kind == "warmup":
            return cls((0.0, numbers["value"]), (begin, until), "linear", complement)
        return cls((numbers["start"], numbers["end"]), (begin, until), kind, complement)


def _check_keys(kind: str, given: Mapping[str, Any]) -> None:
    required, optional = KEYS[kind]
    unknown, missing = sorted(set(given) - {*required, *optional}), sorted(set(required) - set(given))
    if unknown or missing:
        problems = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
        takes = ", ".join([*required, *(f"[{key}]" for key in (*optional, "complement"))])
        raise ValueError(f"weight of kind {kind!r}: {'; '.join(problems)}; it takes {takes}")


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} must be a number, got {value!r}")
    return float(value)


def _numbers(key: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{key} must be a list of numbers, got {values!r}")
    return tuple(_number(key, v) for v in values)
