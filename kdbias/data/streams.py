"""Independent streams of random numbers, each a function of its purpose, the seed, the epoch and the step."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


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
    STRESS = 12
    PART = 13


def stream(purpose: Stream, seed: int, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """Give the generator of one purpose at one place of training; ``seed``, ``epoch`` and ``step`` are not negative."""
    return np.random.default_rng([purpose, seed, epoch, step])


STEP = np.uint64(0x9E3779B97F4A7C15)


def mixed(states: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give the outputs of SplitMix64 (Steele et al., OOPSLA 2014) at its states, element by element.

    >>> int(mixed(np.array([STEP]))[0])  # the first output of the seed 0
    16294208416658607535
    """
    with np.errstate(over="ignore"):
        found = (states ^ (states >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


def image_keys(purpose: Stream, seed: int, epoch: int, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give a key for each image of ``index``, positions in its split: what a draw of this image in this epoch is of.

    It does not depend on the batch that an image comes in, nor on the other images.
    """
    begin = np.random.SeedSequence([purpose, seed, epoch]).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):
        return mixed(begin + STEP * (index.astype(np.uint64) + np.uint64(1)))
