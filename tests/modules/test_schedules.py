import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from kdbias.modules import schedules


@pytest.fixture
def optimizer():
    return SGD([nn.Parameter(torch.zeros(2))], lr=0.5)


def rates(optimizer, config, steps):
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        config["scheduler"].step()
    return seen


def test_warmup_cosine_values():
    factor = [schedules.warmup_cosine_factor(s, 101, 0.0, 0.1) for s in range(101)]
    assert factor[0] == 1.0
    assert factor[50] == pytest.approx(0.55)
    assert factor[25] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert factor[100] == pytest.approx(0.1)
    assert schedules.warmup_cosine_factor(5000, 101, 0.0, 0.1) == pytest.approx(0.1)


def test_warmup_is_linear_and_reaches_the_peak():
    factor = [schedules.warmup_cosine_factor(s, 100, 0.05, 0.0) for s in range(100)]
    assert factor[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert all(a > b for a, b in pairwise(factor[5:]))


def test_shape_does_not_depend_on_the_number_of_steps():
    short = schedules.warmup_cosine_factor(50, 101, 0.1, 0.0)
    long = schedules.warmup_cosine_factor(5000, 10001, 0.1, 0.0)
    assert short == pytest.approx(long, abs=2e-3)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_shortest_trainings_have_finite_positive_rates(total):
    for step in range(total + 1):
        assert 0.0 <= schedules.warmup_cosine_factor(step, total, 0.05, 0.0) <= 1.0
        assert 0.0 < schedules.warmup_step_factor(step, total, 0.05, [0.5], 0.1) <= 1.0
        assert 0.0 <= schedules.cyclic_factor(step, total, 2, 0.0) <= 1.0


def test_steps_fall_at_their_fractions():
    factor = [schedules.warmup_step_factor(s, 10, 0.2, [0.5, 0.8], 0.1) for s in range(10)]
    assert factor == pytest.approx([0.5, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_cyclic_is_a_triangle_wave():
    factor = [schedules.cyclic_factor(s, 9, 2, 0.2) for s in range(9)]
    assert factor == pytest.approx([0.2, 0.6, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6, 0.2])


def test_builders_scale_the_optimisers_rate(optimizer):
    config = schedules.warmup_cosine(optimizer, 21, warmup=0.0, final_lr=0.05)
    assert config["interval"] == "step"
    seen = rates(optimizer, config, 25)
    assert seen[0] == 0.5
    assert seen[10] == pytest.approx(0.275)
    assert seen[20:] == pytest.approx([0.05] * 5)


def test_step_and_cyclic_builders(optimizer):
    config = schedules.warmup_step(optimizer, 4, warmup=0.25, milestones=[0.5], gamma=0.1)
    assert rates(optimizer, config, 4) == pytest.approx([0.5, 0.5, 0.05, 0.05])
    other = SGD([nn.Parameter(torch.zeros(2))], lr=0.5)
    config = schedules.cyclic(other, 5, cycles=1, low_lr=0.1)
    assert rates(other, config, 5) == pytest.approx([0.1, 0.3, 0.5, 0.3, 0.1])


def test_plateau_follows_the_metric_by_epoch(optimizer):
    config = schedules.plateau(optimizer, 10, monitor="val/accuracy", mode="max", factor=0.5, patience=1)
    assert (config["interval"], config["monitor"], config["reduce_on_plateau"]) == ("epoch", "val/accuracy", True)
    scheduler = config["scheduler"]
    assert isinstance(scheduler, ReduceLROnPlateau)
    for accuracy in (0.5, 0.5, 0.5):
        scheduler.step(accuracy)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_plateau_of_a_metric_that_nobody_logs_is_named(optimizer):
    found = schedules.plateau(optimizer, 10, monitor="val/knn", mode="max")["scheduler"]
    with pytest.raises(ValueError, match=r"^optim\.schedule\.monitor: val/knn is not logged: choose one of a, b$"):
        schedules.step_plateaus([found], "val/knn", {"b": 1.0, "a": 0.0})


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda o: schedules.warmup_cosine(o, 10, warmup=5), "warmup"),
        (lambda o: schedules.warmup_step(o, 10, warmup=0, milestones=[60]), "milestones"),
        (lambda o: schedules.cyclic(o, 10, cycles=0, low_lr=0.1), "cycles"),
    ],
)
def test_wrong_values_name_their_key(optimizer, build, key):
    with pytest.raises(ValueError, match=f"^{key}: must"):
        build(optimizer)
