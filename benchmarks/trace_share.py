"""What a trace of torch's profiler says of a device: how long no kernel ran, how many ran, which took longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KERNELS = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
OPERATIONS = frozenset({"cpu_op"})
MOST = 8  # kernels that are named


@dataclass(frozen=True)
class Shares:
    """``outside`` is the part of the time in which none ran; ``milliseconds`` of each kernel in all."""

    outside: float
    count: int
    milliseconds: Mapping[str, float]

    def longest(self, steps: int) -> dict[str, float]:
        """Give the kernels that took longest, with their milliseconds a step."""
        first = sorted(self.milliseconds.items(), key=lambda item: -item[1])[:MOST]
        return {name: round(value / steps, 3) for name, value in first}


def shares(trace: Mapping[str, Any]) -> Shares:
    """Read a trace in Chrome's format; without kernels (on a CPU) operations stand for them.

    >>> spans = [("a", 0, 10), ("b", 2, 3), ("a", 15, 5)]  # name, begin and length in microseconds
    >>> shares({"traceEvents": [{"cat": "kernel", "name": n, "ts": t, "dur": d} for n, t, d in spans]})
    Shares(outside=0.25, count=3, milliseconds={'a': 0.015, 'b': 0.003})
    """
    events = [event for event in trace["traceEvents"] if "dur" in event]
    chosen = [event for event in events if event.get("cat") in KERNELS]
    chosen = chosen or [event for event in events if event.get("cat") in OPERATIONS]
    if not chosen:
        raise ValueError("the trace has neither kernels nor operations: trace at least one step")
    spans = [(float(event["ts"]), float(event["ts"]) + float(event["dur"])) for event in chosen]
    total: Counter[str] = Counter()
    for event in chosen:
        total[event["name"]] += float(event["dur"]) / 1000
    return Shares(outside(spans), len(chosen), dict(total))


def outside(spans: Iterable[tuple[float, float]]) -> float:
    """Give the part of the time from the first begin to the last end that no span (begin, end) covers.

    >>> outside([(4.0, 8.0), (0.0, 2.0), (5.0, 6.0)])
    0.25
    """
    ordered = sorted(spans)
    covered, end = 0.0, ordered[0][0]
    for begin, until in ordered:
        covered += max(0.0, until - max(begin, end))
        end = max(end, until)
    return 1.0 - covered / (end - ordered[0][0])
