"""What other people's checkpoints hold beside tensors, read as plain values, without the code that wrote it."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np


class NumpyType:
    """A pickled ``numpy.dtype``: its code, such as ``f8``, and its byte order.

    NumPy's own class would believe whatever state a file gives it.
    """

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def numpy_scalar(kind: NumpyType, content: bytes) -> bool | int | float:
    """Give a pickled NumPy scalar as a plain value.

    Raises:
        UnpicklingError: it is no bool, integer or float.
    """
    name = f"{getattr(kind, 'order', '')}{getattr(kind, 'code', '')}"
    if not re.fullmatch(r"[=<>|](b1|[iu][1248]|f[248])", name) or not isinstance(content, bytes):
        raise UnpicklingError(f"a NumPy scalar of the type {name!r}")
    value: bool | int | float = np.frombuffer(content, name, count=1)[0].item()
    return value


ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    Namespace,  # the arguments of a training script
    (NumpyType, "numpy.dtype"),
    (numpy_scalar, "numpy.core.multiarray.scalar"),
    (numpy_scalar, "numpy._core.multiarray.scalar"),
]
"""What torch may make while it reads a file, in addition to its own list."""
