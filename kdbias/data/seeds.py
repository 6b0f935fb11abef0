"""What a seed may be; it needs no numpy, so that a command's words are checked at once."""

from __future__ import annotations

SEEDS = "a whole number from 0 to 2**32 - 1"


def is_seed(value: object) -> bool:
    """Whether a value is one of ``SEEDS``, what every generator takes."""
    return type(value) is int and 0 <= value < 2**32
