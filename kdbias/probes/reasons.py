"""Why a probe could not measure: errors that it raises on purpose, mishaps, and the few that must end a training."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence

import torch

from kdbias.functional.hessian.product import CurvatureError

REASONS: tuple[type[Exception], ...] = (
    ValueError,
    ArithmeticError,
    CurvatureError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]
    torch.OutOfMemoryError,
)
"""Too few images, features all alike, attention without maps, a Hessian that cannot be had, no memory for it."""


_FATAL = tuple(kind for kind in (getattr(torch, "AcceleratorError", None),) if kind is not None)
_FATAL_WORDS = ("CUDA error", "HIP error", "NCCL error", "CUDA driver error")  # how a RuntimeError says the same


def why(error: Exception) -> str:
    """Give why there is no measurement, in one line; a diagnostic ends a training only where nothing else can go on.

    An error on purpose (``REASONS``) is given in its own words. Any other (no memory on the CPU, a file, a mistake in
    the probe) is given with its kind, and its traceback is printed. Errors that are no ``Exception``
    (``KeyboardInterrupt``, ``SystemExit``) do not come here.

    Raises:
        Exception: ``error`` itself, if it is of the device: every later call on the device would fail too.
    """
    if isinstance(error, REASONS):
        return said(error)
    if isinstance(error, _FATAL) or (isinstance(error, RuntimeError) and str(error).startswith(_FATAL_WORDS)):
        raise error
    if not _no_memory(error):
        traceback.print_exception(error)
    return f"{type(error).__name__}: {said(error)}"


def _no_memory(error: Exception) -> bool:
    """Whether memory is short; on the CPU torch says so by a RuntimeError."""
    return isinstance(error, MemoryError) or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def said(error: Exception) -> str:
    """Give what an error says in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def by_epoch(found: Mapping[str, Sequence[int]]) -> str:
    """Give reasons with the epochs in which each was given; empty if there are none."""
    return "; ".join(f"{why} (after epoch {', '.join(map(str, epochs))})" for why, epochs in found.items())
