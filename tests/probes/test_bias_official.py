"""Shape share, error consistency and reciprocal rank beside the public code, on the same decisions.

The expected numbers are from bethgelab/model-vs-human 8655b6b, ``analyses.py``, and PumjunKim/REFINED-BIAS 79ed7cd,
``mrr_acc``, with NumPy 2 and pandas 2 on the logits below.
"""

import numpy as np
import pytest
import torch

from kdbias import stats
from kdbias.functional.consistency import error_consistency
from kdbias.functional.rank import chance_reciprocal_rank, reciprocal_rank
from kdbias.probes.bias_conflict import conflict
from kdbias.stats import consistency

N, CLASSES = 400, 10


@pytest.fixture(scope="module")
def decisions():
    rng = np.random.default_rng(0)
    shape = rng.integers(0, CLASSES, N)
    texture = (shape + rng.integers(1, CLASSES, N)) % CLASSES
    logits = rng.normal(size=(N, CLASSES))
    logits[np.arange(N), shape] += 1.2
    logits[np.arange(N), texture] += 0.6
    other = rng.normal(size=(N, CLASSES))
    other[np.arange(N), shape] += 1.5
    other += 0.5 * logits
    return shape, texture, logits, other


def test_shape_share_equals_model_vs_human(decisions):
    shape, texture, logits, _ = decisions
    found, masks = conflict(logits.argmax(1), shape, texture, CLASSES)
    assert found["shape_share"].value == pytest.approx(0.6923076923076923, abs=1e-12)
    assert masks["by_shape"].mean() == pytest.approx(0.36, abs=1e-12)
    assert found["decided"].value == pytest.approx(0.36 + 0.16, abs=1e-12)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


def test_error_consistency_equals_model_vs_human(decisions):
    shape, _, logits, other = decisions
    right, also = (one.argmax(1) == shape for one in (logits, other))
    found = consistency.error_consistency(right, also)
    assert found.value == pytest.approx(0.28030303030303033, abs=1e-12)
    assert found.value == pytest.approx(float(error_consistency(*map(torch.from_numpy, (right, also)))), abs=1e-12)
    assert found.low < found.value < found.high
    assert consistency.error_consistency(right, right).value == 1.0


def test_observed_agreement_at_perfect_accuracy_is_refused_where_model_vs_human_says_one():
    perfect = np.ones(N, bool)
    assert consistency.error_consistency(perfect, perfect).reason.startswith("both networks are right on all 400")


def test_reciprocal_rank_equals_refined_bias(decisions):
    shape, _, logits, _ = decisions
    found = reciprocal_rank(torch.from_numpy(logits), torch.from_numpy(shape))
    assert float(found.mean()) == pytest.approx(0.5536130952380952, abs=1e-12)
    estimate = stats.bootstrap_mean(found.numpy(), within=(0, 1))
    assert estimate.low < estimate.value < estimate.high


def test_reciprocal_rank_of_a_network_that_knows_nothing_is_that_of_guesses():
    ties = reciprocal_rank(torch.zeros(10, 10), torch.arange(10))
    assert float(ties.mean()) == pytest.approx(chance_reciprocal_rank(10), abs=1e-12)
    assert chance_reciprocal_rank(10) == pytest.approx(0.2929, abs=1e-4)
