"""``compile: auto``: a long run compiles its networks after its first steps, and keeps that where it is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from kdbias.models.channels_last import compile_in_place

WARM, STEPS = 3, 9  # steps that are not timed, and that are, before compiling and after it
LEAST = 1200.0  # seconds that the rest of a run must take, as it is, for compiling to be tried
GAIN = 1.03  # a compiled step must be this many times as fast


class Trial:
    """Times steps of a run as they are and compiled; call ``before_step`` before each step until it is ``over``.

    A step is timed from its beginning to that of the next one, the data and the optimiser included; the median leaves
    validation out. Networks are compiled in place. Where the compiler fails, in the trial or later (as in the first
    validation), torch runs the network as it is. What is computed is the same up to rounding and to what dropout draws.

    Args:
        networks: what is compiled, together.
        left: gives the number of steps that the run still has.
        device: of the training.
        clock: seconds.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        left: Callable[[], int],
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.networks, self.left, self.device, self.clock = networks, left, device, clock
        self.said = ""  # why it is over
        self._times: list[float] = []
        self._plain: float | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to time."""
        return bool(self.said)

    def before_step(self) -> None:
        """Take the time, and decide where enough of them are known."""
        if self.over:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._times.append(self.clock())
        if len(self._times) <= WARM + STEPS:
            return
        seconds = statistics.median(after - before for before, after in pairwise(self._times[WARM:]))
        self._times = []
        if self._plain is None:
            self._begin(seconds)
        else:
            self._decide(self._plain, seconds)

    def _begin(self, seconds: float) -> None:
        rest = seconds * self.left()
        if rest < LEAST:
            self.said = f"not tried: the rest of the run takes {rest:.0f} s as it is; it is for {LEAST:.0f} s or more"
            return
        self._plain = seconds
        try:
            for network in self.networks:
                compile_in_place(network)
        except (ImportError, RuntimeError) as error:  # as on a Python that the compiler does not know yet
            self._take_back()
            self.said = f"not compiled: {str(error).strip().partition(chr(10))[0]}"
            return
        for network in self.networks:
            network._compiled_call_impl = forgiven(network._compiled_call_impl)

    def _decide(self, plain: float, compiled: float) -> None:
        kept = plain >= GAIN * compiled
        if not kept:
            self._take_back()
        what = "compiled from now on" if kept else "not compiled"
        self.said = f"{what}: a step takes {1000 * plain:.1f} ms as it is and {1000 * compiled:.1f} ms compiled"

    def _take_back(self) -> None:
        for network in self.networks:
            network._compiled_call_impl = None  # as before ``compile``


def forgiven(call: Any) -> Callable[..., Any]:
    """Give a compiled call that runs the network as it is where compiling its forward or backward pass fails."""

    @wraps(call)
    def run(*args: Any, **options: Any) -> Any:
        with _forgiving():
            return call(*args, **options)

    return run


@contextmanager
def _forgiving() -> Iterator[None]:
    """Have torch's compiler suppress its errors, those of a backward pass too, which is then compiled with the other.

    By default it is compiled within ``loss.backward()``, where an error would end the run.
    """
    from torch._dynamo import config
    from torch._functorch import config as backward

    switches = [(config, "suppress_errors"), (backward, "force_non_lazy_backward_lowering")]
    before = [(settings, name, getattr(settings, name)) for settings, name in switches if hasattr(settings, name)]
    for settings, name, _ in before:
        setattr(settings, name, True)
    try:
        yield
    finally:
        for settings, name, value in before:
            setattr(settings, name, value)
