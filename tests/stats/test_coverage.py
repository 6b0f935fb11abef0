"""Bootstrap intervals over images cover the truth as often as they say."""

import numpy as np

from kdbias.probes.bias_conflict import without_guesses
from kdbias.stats.consistency import error_consistency
from kdbias.stats.corruption import mean_corruption_error

P = (0.4 + 0.9) / 2  # each is right; both alike: half of .4² + .6², half of .9² + .1²
KAPPA = ((0.52 + 0.82) / 2 - (P**2 + (1 - P) ** 2)) / (1 - (P**2 + (1 - P) ** 2))


def level(value, n=400_000):
    rng = np.random.default_rng(5)
    return (rng.random(n) + rng.normal(0, 0.2, n) < value).mean()


def test_the_interval_of_kappa_covers():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        hard = rng.random(400) < 0.5
        one, other = (np.where(hard, rng.random(400) < 0.4, rng.random(400) < 0.9) for _ in range(2))
        found = error_consistency(one, other, 500)
        hits += found.low <= KAPPA <= found.high
    assert 0.92 < hits / 300 < 0.98


def test_the_interval_of_mce_over_several_corruptions_covers():
    rng, hits = np.random.default_rng(1), 0
    wrongs = {one: 1 - level(one) for one in (0.5, 0.6, 0.7, 0.8)}
    truth = (wrongs[0.7] / wrongs[0.6] + wrongs[0.8] / wrongs[0.5]) / 2
    for _ in range(300):
        hard = rng.random(500)
        wrong, reference = (
            np.stack([[hard + rng.normal(0, 0.2, 500) > one] for one in levels]) for levels in ((0.7, 0.8), (0.6, 0.5))
        )
        found = mean_corruption_error(wrong, reference, ["fog", "snow"])
        hits += found.low <= truth <= found.high
    assert 0.92 < hits / 300 < 0.98


def test_the_interval_of_the_share_without_guesses_covers():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(300):
        guess = rng.random(500) < 0.5
        kind = np.where(guess, rng.integers(0, 10, 500), np.where(rng.random(500) < 0.7, 0, 1))  # 0 shape, 1 texture
        found = without_guesses(kind == 0, kind <= 1, 10, 500)
        hits += found.low <= 0.7 <= found.high
    assert 0.92 < hits / 300 < 0.98
