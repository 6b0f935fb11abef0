"""Redundancy suppression: the official code's numbers, a count by loops, invariance, constant features."""

import math
import statistics

import pytest
import torch

from kdbias.functional.rsd import rsd


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


@pytest.fixture
def two():
    return wave(6, 5), wave(6, 5, step=1.3, scale=4.0)


@pytest.mark.parametrize(("kappa", "official"), [(0.01, 3.8688579641573804), (0.5, 4.160347679833405)])
def test_official_numbers(two, kappa, official):
    """From ``rsd_loss`` of distillers/rsd.py, spacewanderx/RSD, in fp64."""
    assert rsd(*two, kappa).item() == pytest.approx(official, rel=1e-12)


def test_counted_by_loops(two):
    student, teacher = (x.T.tolist() for x in two)
    total = 0.0
    for i, t in enumerate(teacher):
        for j, s in enumerate(student):
            covariance = statistics.fmean(a * b for a, b in zip(t, s, strict=True)) - statistics.fmean(
                t
            ) * statistics.fmean(s)
            k = covariance / (statistics.pstdev(t) * statistics.pstdev(s))
            total += (k - 1) ** 2 if i == j else 0.3 * k**2
    assert rsd(*two, kappa=0.3).item() == pytest.approx(total, rel=1e-4)  # 1e-5 is added to each deviation


def test_uncorrelated_features_of_the_teacher_are_reached_exactly():
    """Columns of a Hadamard matrix are uncorrelated; swapped they are as wrong as can be: 2 d on, 2 κ off it."""
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert rsd(x, x).item() == pytest.approx(0.0, abs=1e-9)
    assert rsd(x.flip(1), x, kappa=0.25).item() == pytest.approx(2 + 0.25 * 2, rel=1e-4)
    assert rsd(-x, x).item() == pytest.approx(4 * 2, rel=1e-4)


def test_shift_and_scale_of_each_feature_do_not_count(two):
    student, teacher = two
    scale = torch.tensor([1.0, 2.0, 0.5, 7.0, 3.0])
    torch.testing.assert_close(rsd(student * scale + 5, teacher - scale), rsd(student, teacher), rtol=1e-4, atol=0.0)


def test_constant_features_count_one_and_get_no_gradient(two):
    _, teacher = two
    student = torch.full((6, 5), 0.3, requires_grad=True)
    loss = rsd(student, teacher.float())
    loss.backward()
    assert loss.item() == pytest.approx(5.0, abs=0.02)
    assert student.grad.isfinite().all()
    one = wave(6, 5)
    one[:, 2] = 1.0
    one.requires_grad_()
    rsd(one, teacher).backward()
    assert one.grad.isfinite().all()
    assert one.grad[:, [0, 1, 3, 4]].abs().sum() > 0


def test_gradient_is_that_of_the_formula(two):
    student, teacher = two
    assert torch.autograd.gradcheck(lambda x: rsd(x, teacher), student.requires_grad_())


def test_bad_input_is_an_error(two):
    student, teacher = two
    with pytest.raises(ValueError, match="got 1: raise batch_size"):
        rsd(student[:1], teacher[:1])
    with pytest.raises(ValueError, match=r"one shape \(B, D\), got \(6, 5\) and \(6, 3\)"):
        rsd(student, teacher[:, :3])


def test_bf16_gives_fp32(two):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rsd(*(x.bfloat16() for x in two)).dtype == torch.float32
