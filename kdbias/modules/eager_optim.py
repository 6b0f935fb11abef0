"""torch's optimisers without its compiler: ``Optimizer.step`` imports it, a second of work, to part compiled graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Eager(Optimizer):
    """A base beside an optimiser of torch: its ``step``, in the gradient mode that torch gives it."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; what torch's decorators add to it for compiled steps is left out."""
        plain = inspect.unwrap(super().step.__func__)  # type: ignore[attr-defined]
        with torch.set_grad_enabled(bool(self.defaults["differentiable"])):
            return plain(self, closure)


class AdamW(Eager, torch.optim.AdamW):
    """As torch's, step for step and bit for bit."""


class SGD(Eager, torch.optim.SGD):
    """As torch's, step for step and bit for bit."""
