"""Statistics of the tables: estimates with intervals over images or seeds, tests, and the correction for several tests.

A refused estimate is NaN with a reason.
"""

from kdbias.stats.bootstrap import Estimate, bootstrap_mean
from kdbias.stats.comparison import Difference, difference, family, image_noise
from kdbias.stats.planner import equal_power, power, seeds_needed, smallest_shown
from kdbias.stats.retained import quotient_by_image, ratio, retention, retention_noise
from kdbias.stats.scores import accuracy, mean_std, transfer_index, transfer_index_images
from kdbias.stats.seeds import fieller, seed_mean
from kdbias.stats.significance import above_chance, holm, permutation_test

transfer_index_pictures = transfer_index_images
"""The name of `transfer_index_images` before images were called so."""

__all__ = [
    "Difference",
    "Estimate",
    "above_chance",
    "accuracy",
    "bootstrap_mean",
    "difference",
    "equal_power",
    "family",
    "fieller",
    "holm",
    "image_noise",
    "mean_std",
    "permutation_test",
    "power",
    "quotient_by_image",
    "ratio",
    "retention",
    "retention_noise",
    "seed_mean",
    "seeds_needed",
    "smallest_shown",
    "transfer_index",
    "transfer_index_images",
    "transfer_index_pictures",
]
