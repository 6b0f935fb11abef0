"""A set of plain arrays on disk, without a data set of the package: what a process that is killed builds."""

from pathlib import Path

import numpy as np

from kdbias.stress import build
from kdbias.stress.scramble import Scramble


class Plain:
    """64 images of noise."""

    labels = np.arange(64) % 10

    def __len__(self):
        return 64

    def part(self, start, stop):
        """Give some of them."""
        images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        return images[start:stop], self.labels[start:stop]


def store(root, progress=None, workers=1):
    """Build the set, or read it."""
    return build.stored(Scramble(4), Plain(), "s", Path(root), name="plain", workers=workers, progress=progress)
