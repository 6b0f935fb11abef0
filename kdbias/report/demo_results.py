"""What the demo has measured: the networks, their Results, and what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.report.curves import Metrics
from kdbias.report.page import Code
from kdbias.report.verdict import Finding, gain, index

MEASURES = {"both cues": "test", "shape alone": "shape", "texture alone": "texture"}


@dataclass(frozen=True)
class DemoNetwork:
    """The Results of one trained network: test accuracy, cues, training curves, and attention if it has any."""

    test: Result
    cues: Result
    metrics: Metrics
    attention: Result | None = None

    def right(self, measure: str) -> Result:
        """Give a Result whose array ``right`` says which answers are right; ``measure`` is a value of ``MEASURES``."""
        if measure == "test":
            return self.test
        return Result(measure, {}, {"right": self.cues.arrays[f"right_{measure}"]}, self.cues.meta)


@dataclass(frozen=True)
class DemoResults:
    """The networks of the demo; students and controls are paired by seed.

    ``how`` says how they were trained. ``shown`` are the first cue-conflict images ``(k, H, W, 3)`` uint8 of those that
    the cue Results are about; ``shapes`` and ``textures`` are the names of the classes' cues.
    """

    teacher: DemoNetwork
    control: Sequence[DemoNetwork]
    student: Sequence[DemoNetwork]
    untrained: Result
    how: Sequence[str | Code]
    shown: npt.NDArray[Any]
    shapes: Sequence[str]
    textures: Sequence[str]

    @cached_property
    def index(self) -> Finding:
        """The transfer index of the shape share."""
        return index([n.cues for n in self.student], [n.cues for n in self.control], self.teacher.cues)

    def gain(self, measure: str) -> Finding:
        """Give the student's accuracy minus the control's; ``measure`` is a value of ``MEASURES``."""
        return gain([n.right(measure) for n in self.student], [n.right(measure) for n in self.control])

    @property
    def networks(self) -> dict[str, Sequence[DemoNetwork]]:
        """All networks by name, in the order of tables and figures."""
        return {"student": self.student, "teacher": [self.teacher], "control": self.control}

    def means(self, value: Callable[[DemoNetwork], float]) -> dict[str, float]:
        """Give the mean of ``value`` over the seeds of each network, by name."""
        return {name: mean(map(value, of)) for name, of in self.networks.items()}

    def accuracies(self, measure: str) -> dict[str, float]:
        """Give the mean accuracy of each network, by name; ``measure`` is a value of ``MEASURES``."""
        return self.means(lambda network: float(network.right(measure).arrays["right"].mean()))

    @property
    def shares(self) -> dict[str, float]:
        """The mean shape share of each network, by name."""
        return self.means(lambda network: network.cues.scalars["shape_share"])

    @property
    def attention(self) -> dict[str, list[Result]]:
        """The attention of the networks that have any, by name."""
        return {name: attended(of) for name, of in self.networks.items() if name != "teacher"}


def attended(networks: Sequence[DemoNetwork]) -> list[Result]:
    """Give the attention Results of the networks that have one."""
    return [network.attention for network in networks if network.attention is not None]


def mean(values: Iterable[float]) -> float:
    """Give the mean."""
    return float(np.mean(list(values)))
