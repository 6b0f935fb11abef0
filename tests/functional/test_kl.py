"""Softened KL and standardised logits: closed forms, a loop in fp64, precision and errors."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import soft_kl, standardize_logits


def logits(seed: int, batch: int = 7, classes: int = 5, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def loop(student, teacher, temperature, divisor):
    """The definition, in plain floats."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        z_s, z_t = (sum(math.exp(v / temperature) for v in z) for z in (s, t))
        for a, b in zip(s, t, strict=True):
            p, q = math.exp(b / temperature) / z_t, math.exp(a / temperature) / z_s
            total += p * math.log(p / q)
    return temperature**2 * total / divisor


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("reduction", "divisor"), [("batchmean", 7), ("numel", 35)])
def test_equals_the_loop(temperature, reduction, divisor):
    student, teacher = logits(0), logits(1)
    assert soft_kl(student, teacher, temperature, reduction).item() == pytest.approx(
        loop(student, teacher, temperature, divisor), rel=1e-12
    )


def test_teacher_comes_first():
    student, teacher = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert soft_kl(student, teacher, 1.0).item() == pytest.approx(math.log(2 / math.sqrt(3)), abs=1e-6)
    assert soft_kl(teacher, student, 1.0).item() == pytest.approx(0.75 * math.log(3) - math.log(2), abs=1e-6)


def test_zero_of_itself_and_of_a_shift():
    z = logits(2)
    assert soft_kl(z, z, 3.0).item() == 0.0
    assert soft_kl(z, z + 5.0, 3.0).item() == pytest.approx(0.0, abs=1e-12)


def test_gradient_is_that_of_hinton():
    """The gradient with respect to a student logit is tau (q - p) / B."""
    student, teacher = logits(3).requires_grad_(), logits(4)
    soft_kl(student, teacher, 4.0).backward()
    expected = 4.0 * (F.softmax(student.detach() / 4, 1) - F.softmax(teacher / 4, 1)) / 7
    torch.testing.assert_close(student.grad, expected)


def test_confident_logits_stay_finite():
    student, teacher = torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([[-1e4, 0.0, 1e4]])
    assert soft_kl(student, teacher, 1.0).item() == pytest.approx(2e4)


def test_bf16_under_autocast_is_computed_in_fp32():
    student, teacher = logits(5).bfloat16(), logits(6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = soft_kl(student, teacher, 2.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), soft_kl(student.double(), teacher.double(), 2.0), rtol=1e-5, atol=0)


def test_standardised_logits_ignore_shift_and_scale():
    z = logits(7)
    torch.testing.assert_close(standardize_logits(3.0 * z - 2.0), standardize_logits(z), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(standardize_logits(z).std(dim=1), torch.ones(7, dtype=torch.float64), rtol=1e-6, atol=0)


def test_standardised_equal_logits_are_zero_with_a_finite_gradient():
    z = torch.full((2, 4), 3.0, requires_grad=True)
    standardize_logits(z).square().sum().backward()
    assert standardize_logits(z).eq(0).all()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "arguments", "message"),
    [
        ((2, 3), (2, 4), {"temperature": 1.0}, r"one shape \(B, C\), got \(2, 3\) and \(2, 4\)"),
        ((2, 3, 1), (2, 3, 1), {"temperature": 1.0}, r"\(B, C\)"),
        ((0, 3), (0, 3), {"temperature": 1.0}, r"\(0, 3\)"),
        ((2, 3), (2, 3), {"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ((2, 3), (2, 3), {"temperature": 1.0, "reduction": "mean"}, "'batchmean' or 'numel', got 'mean'"),
    ],
)
def test_errors_say_what_came(student, teacher, arguments, message):
    with pytest.raises(ValueError, match=message):
        soft_kl(torch.zeros(student), torch.zeros(teacher), **arguments)


def test_standardising_one_class_is_an_error():
    with pytest.raises(ValueError, match=r"C >= 2, got \(4, 1\)"):
        standardize_logits(torch.zeros(4, 1))
