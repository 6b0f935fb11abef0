"""Wilson's interval of a share of images."""

from __future__ import annotations

import math

import scipy

from kdbias.stats.bootstrap import LEVEL


def wilson(count: int, n: int) -> tuple[float, float]:
    """Give the ends of the score interval of ``count`` of ``n`` (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    It is that of ``scipy.stats.binomtest``, bit for bit, without ``scipy.stats``, which takes half a second to import.

    >>> [round(end, 3) for end in wilson(3, 4)]
    [0.301, 0.954]
    """
    z = float(scipy.special.ndtri(0.5 + 0.5 * LEVEL))
    share, spare = count / n, 1 - count / n
    whole = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / whole
    half = z / whole * math.sqrt(4 * n * share * spare + z**2)
    return 0.0 if count == 0 else centre - half, 1.0 if count == n else centre + half
