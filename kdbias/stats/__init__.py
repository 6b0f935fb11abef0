"""Statistics of the tables: estimates with intervals over images or seeds, tests, and the correction for several tests.

A refused estimate is NaN with a reason.
"""

from kdbias.stats.bootstrap import Estimate, bootstrap_mean
from kdbias.stats.scores import (
    Difference,
    accuracy,
    difference,
    mean_std,
    ratio,
    retention,
    transfer_index,
    transfer_index_images,
)
from kdbias.stats.significance import above_chance, holm, permutation_test

__all__ = [
    "Difference",
    "Estimate",
    "above_chance",
    "accuracy",
    "bootstrap_mean",
    "difference",
    "holm",
    "mean_std",
    "permutation_test",
    "ratio",
    "retention",
    "transfer_index",
    "transfer_index_images",
]
