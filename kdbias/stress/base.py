"""What every stress set is: the images of a batch in another version, their labels kept."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kdbias.batch import Batch

Version = Callable[[Batch], Tensor]
"""From a batch to its images in another version, ``(B, C, H, W)`` in [0, 1]."""
