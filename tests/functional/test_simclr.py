"""Numbers are lightly's (``NTXentLoss``, 1.5) on the same inputs."""

import math

import pytest
import torch

from kdbias.functional.simclr import nt_xent, pair_accuracy


def waves(*shape, phase=0.0):
    return (torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + phase).sin().mul(1.3).reshape(shape)


@pytest.mark.parametrize(("temperature", "expected"), [(0.2, 1.082851318284332), (0.5, 1.4245268379741511)])
def test_equals_lightly(temperature, expected):
    one, two = waves(5, 7), waves(5, 7, phase=0.4)
    assert nt_xent(one, two, temperature).item() == pytest.approx(expected, rel=1e-12)
    assert nt_xent(two, one, temperature).item() == pytest.approx(expected, rel=1e-12)
    assert nt_xent(3 * one, 0.1 * two, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_embeddings_that_are_all_alike_give_the_logarithm_of_the_choices():
    same = torch.ones(6, 4)
    assert nt_xent(same, same).item() == pytest.approx(math.log(11), rel=1e-6)


def test_by_hand():
    one, two = waves(3, 4), waves(3, 4, phase=2.0)
    views = torch.nn.functional.normalize(torch.cat([one, two]), dim=1)
    expected = 0.0
    for i in range(6):
        weights = [math.exp(float(views[i] @ views[j]) / 0.3) for j in range(6)]
        expected -= math.log(weights[(i + 3) % 6] / (sum(weights) - weights[i])) / 6
    assert nt_xent(one, two, 0.3).item() == pytest.approx(expected, rel=1e-12)


def test_pairs_that_are_found():
    one = torch.eye(4)
    assert pair_accuracy(one, one).item() == 1.0
    two = one[[0, 1, 3, 2]]  # the last two images look like each other
    assert pair_accuracy(one, two).item() == 0.5


def test_gradient_reaches_both_views_in_full_precision():
    one, two = (x.bfloat16().requires_grad_() for x in (waves(4, 3), waves(4, 3, phase=1.0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(one, two)
    loss.backward()
    assert loss.dtype == torch.float32
    assert min(one.grad.abs().sum(), two.grad.abs().sum()) > 0


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"at least 2 images.*\(1, 3\)"):
        nt_xent(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="temperature"):
        nt_xent(torch.eye(2), torch.eye(2), 0.0)
