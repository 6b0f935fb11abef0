"""``compile: auto``: a long run compiles its networks after its first steps, and keeps that where it is faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

WARM, STEPS = 3, 9  # steps that are not timed, and that are, before compiling and after it
LEAST = 1200.0  # seconds that the rest of a run must take, as it is, for compiling to be tried
GAIN = 1.03  # a compiled step must be this many times as fast


class Trial:
    """Times steps of a run as they are and compiled; call ``before_step`` before each step until it is ``over``.

    A step is timed from its beginning to that of the next one, the data and the optimiser included; the median leaves
    validation out. Networks are compiled in place. Where the compiler fails, torch runs the network as it is, and the
    trial ends as for one that is not faster. What is computed is the same up to rounding.

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
        self._suppressed = False

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
        self._suppressed, config().suppress_errors = config().suppress_errors, True
        for network in self.networks:
            network.compile()

    def _decide(self, plain: float, compiled: float) -> None:
        config().suppress_errors = self._suppressed
        kept = plain >= GAIN * compiled
        if not kept:
            for network in self.networks:
                network._compiled_call_impl = None  # as before ``compile``
        what = "compiled from now on" if kept else "not compiled"
        self.said = f"{what}: a step takes {1000 * plain:.1f} ms as it is and {1000 * compiled:.1f} ms compiled"


def config() -> Any:
    """Give the settings of torch's compiler, which is imported where something is compiled."""
    from torch._dynamo import config

    return config
