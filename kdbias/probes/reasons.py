"""The errors that a probe raises on purpose: there is nothing to measure, or no way to measure it."""

from __future__ import annotations

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


def said(error: Exception) -> str:
    """Give what an error says in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def by_epoch(found: Mapping[str, Sequence[int]]) -> str:
    """Give reasons with the epochs in which each was given; empty if there are none."""
    return "; ".join(f"{why} (after epoch {', '.join(map(str, epochs))})" for why, epochs in found.items())
