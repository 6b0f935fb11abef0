"""Correlation of probabilities: the official code's numbers, a count by loops, invariance, constant inputs."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kdbias.functional import precision
from kdbias.functional.logits.dist import dist, pearson
from kdbias.losses.monitor import CollapseMonitor


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


@pytest.fixture
def two():
    return wave(6, 5), wave(6, 5, step=1.3, scale=4.0)


@pytest.mark.parametrize(
    ("beta", "gamma", "temperature", "official"),
    [
        (1.0, 1.0, 1.0, 1.5348295462170949),
        (1.0, 1.0, 4.0, 28.52301566221414),
        (2.0, 0.5, 4.0, 38.51091920892917),
        (1.0, 0.0, 2.0, 3.8926359977249847),
        (0.0, 1.0, 2.0, 2.806447766783278),
    ],
)
def test_official_numbers(two, beta, gamma, temperature, official):
    """From ``DIST`` of lib/models/losses/dist_kd.py, hunto/image_classification_sota, in fp64."""
    assert dist(*two, beta, gamma, temperature).item() == pytest.approx(official, rel=1e-12)


def test_pearson_counted_by_loops(two):
    x, y = two
    for row, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        mean_a, mean_b = sum(a) / 5, sum(b) / 5
        products = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
        sizes = math.sqrt(sum((p - mean_a) ** 2 for p in a) * sum((q - mean_b) ** 2 for q in b))
        assert pearson(x, y)[row].item() == pytest.approx(products / sizes, rel=1e-8)


def test_pearson_is_blind_to_shift_and_positive_scale_and_turns_its_sign(two):
    x, y = two
    torch.testing.assert_close(pearson(3 * x + 2, y), pearson(x, y))
    torch.testing.assert_close(pearson(-x, y), -pearson(x, y))


def test_zero_where_the_student_has_the_teachers_probabilities(two):
    _, teacher = two
    # Logits shifted by row have the same probabilities.
    shifted = teacher + torch.arange(6.0)[:, None]
    assert dist(shifted, teacher).item() == pytest.approx(0.0, abs=1e-4)
    assert dist(wave(6, 5), teacher).item() > 1.0


def test_a_class_that_is_never_seen_counts_as_uncorrelated(two):
    """1e-8 on the product of lengths, as published: the noise of vanishing probabilities is not amplified."""
    _, teacher = two
    teacher = teacher / 4
    teacher[:, 4] = -40.0 + torch.arange(6)
    assert dist(teacher, teacher, beta=0.0, temperature=1.0).item() == pytest.approx(1 / 5, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_logits_give_one_for_each_part_and_no_gradient(two, dtype):
    _, teacher = two
    student = torch.full((6, 5), 0.3, dtype=dtype, requires_grad=True)
    loss = dist(student, teacher.to(dtype), temperature=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(4 * (1 + 1), rel=1e-6)
    assert student.grad.eq(0).all()
    assert dist(teacher, torch.zeros_like(teacher), temperature=2.0).item() == pytest.approx(8.0, rel=1e-6)


def test_a_constant_row_does_not_disturb_the_others(two):
    student, teacher = two
    flat = torch.cat([torch.zeros(1, 5, dtype=torch.float64), student[1:]]).requires_grad_()
    dist(flat, teacher, gamma=0.0, temperature=1.0).backward()
    assert flat.grad[0].eq(0).all()
    free = student.clone().requires_grad_()
    dist(free, teacher, gamma=0.0, temperature=1.0).backward()
    torch.testing.assert_close(flat.grad[1:], free.grad[1:])


def test_gradient_is_that_of_the_formula(two):
    student, teacher = two
    assert torch.autograd.gradcheck(lambda z: dist(z, teacher), student.requires_grad_())


def test_one_image_has_rows_only(two):
    student, teacher = two
    with pytest.raises(ValueError, match=r"got 1: raise batch_size, or set loss\.dist\.gamma=0"):
        dist(student[:1], teacher[:1])
    assert dist(student[:1], teacher[:1], gamma=0.0, temperature=1.0).item() > 0


def test_bad_input_is_an_error(two):
    student, teacher = two
    with pytest.raises(ValueError, match="at least 2 classes"):
        dist(student[:, :1], teacher[:, :1])
    with pytest.raises(ValueError, match="one shape"):
        dist(student, teacher[:, :3])
    with pytest.raises(ValueError, match="temperature"):
        dist(student, teacher, temperature=0.0)


def test_bf16_gives_fp32(two):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dist(*(z.bfloat16() for z in two)).dtype == torch.float32


def test_a_device_without_float64_is_asked_for_none(monkeypatch):
    student, teacher = (torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    wide, monitor, tokens = dist(student, teacher), CollapseMonitor("tokens"), torch.randn(4, 3, 8)
    rows = monitor.row(tokens)
    monkeypatch.setattr(precision, "has_float64", lambda device: False)
    with NoFloat64():
        torch.testing.assert_close(dist(student, teacher), wide)
        torch.testing.assert_close(monitor.row(tokens), rows.float())
    assert rows.dtype == torch.float64  # where there is fp64, it is fp64 as before
    assert not precision.has_float64(torch.device("mps"))


class NoFloat64(TorchDispatchMode):
    """A device that has no fp64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found
