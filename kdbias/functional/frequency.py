"""Images without their high or their low spatial frequencies."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from kdbias.functional.precision import full_precision, without_autocast

Band = Literal["low", "high"]
Window = Literal["ideal", "gaussian"]


def response(size: tuple[int, int], cutoff: float, band: Band, window: Window = "ideal") -> Tensor:
    """Give the real response ``(H, W//2 + 1)``, fp64, of a radial filter for ``torch.fft.rfft2``.

    Frequencies are fractions of the Nyquist frequency, r = √(f_x² + f_y²); the corners of the spectrum, above 1, count
    as 1. ``low`` passes r ≤ cutoff (``ideal``) or exp(-r² / 2 cutoff²) of r (``gaussian``); ``high`` passes the rest
    and, so that brightness is not a cue, the mean. Thus ideal low-pass at 1 and high-pass at 0 pass everything.
    """
    height, width = size
    rows, columns = (
        2 * torch.fft.fftfreq(height, dtype=torch.float64),
        2 * torch.fft.rfftfreq(width, dtype=torch.float64),
    )
    radius = (rows[:, None].square() + columns.square()).sqrt().clamp_max(1.0)
    if window == "ideal":
        low = (radius <= cutoff + 1e-9).double()
    else:
        low = torch.exp(-radius.square() / (2 * max(cutoff, 1e-9) ** 2))
    passed: Tensor = low if band == "low" else 1 - low
    passed[0, 0] = 1.0
    return passed


def filtered(images: Tensor, passed: Tensor) -> Tensor:
    """Filter ``images`` ``(B, C, H, W)`` by a ``response``; returns the same tensor if it passes everything.

    Edges wrap around, and values may leave the range of the images.

    >>> checks = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    >>> filtered(checks, response((2, 2), 0.5, "low")).flatten()
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    if bool((passed == 1).all()):
        return images
    with without_autocast(images):
        (exact,) = full_precision(images)
        spectrum = torch.fft.rfft2(exact) * passed.to(exact)
        kept: Tensor = torch.fft.irfft2(spectrum, s=exact.shape[-2:])
    return kept


def mean_height(x: Tensor, y: Tensor) -> float:
    """Give the area under the curve ``y`` over ascending ``x``, both ``(K,)``, divided by the range of ``x``."""
    if len(x) < 2:
        return float(y[0]) if len(y) else math.nan
    return float(torch.trapezoid(y, x) / (x[-1] - x[0]))
