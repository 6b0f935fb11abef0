"""Independent streams of random numbers, each a function of its purpose, the seed, the epoch and the step."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are for."""

    SPLIT = 1
    ORDER = 2
    CROP = 3
    AFFINE = 4
    CUTOUT = 5
    ERASING = 6
    MIXING = 7
    POLICY = 8
    VIEWS = 9
    PARTNER = 10
    UNTRAINED = 11


SEEDS = "a whole number from 0 to 2**32 - 1"


def is_seed(value: object) -> bool:
    """Whether a value is one of ``SEEDS``, what every generator takes."""
    return type(value) is int and 0 <= value < 2**32


def stream(purpose: Stream, seed: int, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """Give the generator of one purpose at one place of training; ``seed``, ``epoch`` and ``step`` are not negative."""
    return np.random.default_rng([purpose, seed, epoch, step])
