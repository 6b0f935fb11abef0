"""Redundancy suppression as a term: the projection, whole-batch statistics, a batch of one."""

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional.rsd import rsd
from kdbias.losses.rsd import RSD


@pytest.fixture
def two(pair):
    return pair()


def ready(two, **settings) -> RSD:
    torch.manual_seed(0)
    term = RSD(**settings)
    term.build(two.student.info, two.teacher.info, two.info)
    return term


def run(term, two, batch):
    return term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)


def test_it_is_the_function_behind_linear_bn_gelu_linear(two):
    term, batch = ready(two, kappa=0.3), two.batch()
    first, second = (p for p in term.parameters() if p.ndim == 2)
    assert (first.shape, second.shape) == ((48, 24), (40, 48))
    hidden = two.student(batch.image).pooled @ first.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    expected = rsd(F.gelu(hidden) @ second.T, two.teacher(batch.image).pooled, kappa=0.3)
    torch.testing.assert_close(run(term, two, batch), expected)


def test_the_projection_can_reach_the_teacher(two):
    """From chance: one for each of 40 features, and the little that chance correlations give."""
    term, batch = ready(two), two.batch(64)
    optimizer = torch.optim.Adam([*term.parameters(), *two.trunk.parameters()], lr=0.01)
    first = run(term, two, batch).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = run(term, two, batch)
        loss.backward()
        optimizer.step()
    assert 20 < first < 60
    assert loss.item() < first / 2


def test_evaluating_in_between_changes_nothing(two):
    """No running statistics: nothing is kept from batch to batch, in a checkpoint or across processes."""
    term, batch = ready(two), two.batch()
    before = run(term, two, batch)
    run(term, two, two.batch(seed=3))
    assert list(term.buffers()) == []
    assert torch.equal(run(term.eval(), two, batch), before)


def test_constant_features_are_finite(two):
    term, batch = ready(two), two.batch()
    batch = batch._replace(image=torch.full_like(batch.image, 0.5))
    loss = run(term, two, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in [*term.parameters(), *two.trunk.parameters()])


def test_one_image_is_an_error(two):
    with pytest.raises(ValueError, match=r"loss\.rsd correlates over the images of a batch and got 1"):
        run(ready(two), two, two.batch(1))


def test_bad_settings_are_refused_when_built():
    with pytest.raises(ValueError, match=r"kappa: must be a number of at least 0, got -0\.1"):
        RSD(kappa=-0.1)
    with pytest.raises(ValueError, match="expansion: must be a whole number of at least 1, got 0"):
        RSD(expansion=0)
