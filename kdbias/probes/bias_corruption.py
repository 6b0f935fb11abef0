"""Errors under corruption: each over its severities, their mean, and mCE beside a reference network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kdbias.stats import Estimate
from kdbias.stats.corruption import mean_corruption_error, mean_error, relative_corruption_error

Mask = npt.NDArray[np.bool_]
UNEVEN = "the corruptions have unlike numbers of severities: give all of them the same strengths"


def corruption_errors(
    right: Mask, reference: Mask | str, clean: int, sets: Mapping[str, Sequence[int]], common: Sequence[str]
) -> tuple[dict[str, Estimate], str]:
    """Give ``error_<set>``, and over the sets ``common`` ``mean_error``, ``mce`` and ``relative_mce``.

    ``right`` is ``(V, n)``; ``reference`` is the same of the reference network, or why there is none. ``clean`` is the
    number of the clean version, ``sets`` those of each corruption's severities. The second value says why there is no
    mCE; empty if there is one.
    """
    found = {f"error_{name}": mean_error(~right[list(places)]) for name, places in sets.items()}
    if not common:
        return found, ""
    found["mean_error"] = mean_error(np.concatenate([~right[list(sets[name])] for name in common]))
    if isinstance(reference, str):
        return found, reference
    if len({len(sets[name]) for name in common}) > 1:
        return found, UNEVEN
    own, other = (np.stack([~one[list(sets[name])] for name in common]) for one in (right, reference))
    names = list(common)
    found["mce"] = mean_corruption_error(own, other, names)
    found["relative_mce"] = relative_corruption_error(own, ~right[clean], other, ~reference[clean], names)
    return found, ""
