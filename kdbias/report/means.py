"""Means over seeds, written for a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbias.probes.base import Result


def mean(runs: Sequence[Result], key: str, digits: int | None = None) -> str:
    """Write the mean of a scalar over seeds, ± its standard deviation; ``-`` if it was not measured."""
    values = [run.scalars[key] for run in runs if key in run.scalars]
    if not values:
        return "-"
    found = [float(np.mean(values)), *([float(np.std(values, ddof=1))] if len(values) > 1 else [])]
    shown = [f"{x:.{digits}f}" if digits is not None else _significant(x, 3 - i) for i, x in enumerate(found)]
    return " ± ".join(shown)


def trace(runs: Sequence[Result]) -> str:
    """Write the mean of the Hessian trace over seeds, ± the standard error of its estimate."""
    if not runs:
        return "-"
    values, errors = ([run.scalars[key] for run in runs] for key in ("trace", "trace_se"))
    error = float(np.sqrt(np.square(errors).sum())) / len(runs)
    return f"{_significant(float(np.mean(values)), 3)} ± {_significant(error, 2)}"


def _significant(value: float, digits: int) -> str:
    """Write ``value`` to ``digits`` significant digits, without an exponent."""
    return np.format_float_positional(value, precision=digits, fractional=False, trim="-")
