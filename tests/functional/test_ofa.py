"""Target enhancement: the official code's numbers, a count by loops, its limits, soft labels."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional.logits.kl import soft_kl
from kdbias.functional.logits.ofa import ofa


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


@pytest.fixture
def three():
    return wave(6, 5), wave(6, 5, step=1.3, scale=4.0), torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize(
    ("gamma", "temperature", "official"),
    [(1.0, 1.0, 2.9058327100359715), (1.5, 1.0, 3.3711600593193594), (1.2, 2.0, 1.92751614637896)],
)
def test_official_numbers(three, gamma, temperature, official):
    """From ``ofa_loss`` of distillers/ofa.py, Hao840/OFAKD, in fp64."""
    assert ofa(*three, gamma, temperature).item() == pytest.approx(official, rel=1e-12)


def test_counted_by_loops(three):
    student, teacher, target = three
    gamma, expected = 1.4, 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True):
        sum_s, sum_t = sum(map(math.exp, s)), sum(map(math.exp, t))
        for c in range(5):
            hit = 1.0 if c == y else 0.0
            expected -= ((math.exp(t[c]) / sum_t + hit) ** gamma - hit) * math.log(math.exp(s[c]) / sum_s) / 6
    assert ofa(student, teacher, target, gamma).item() == pytest.approx(expected, rel=1e-10)


def test_gamma_one_is_the_kl_plus_the_teachers_entropy(three):
    student, teacher, target = three
    p = F.softmax(teacher, dim=1)
    entropy = -(p * p.log()).sum(dim=1).mean()
    for labels in (target, (target + 1) % 5):
        torch.testing.assert_close(ofa(student, teacher, labels), soft_kl(student, teacher, 1.0) + entropy)


def test_above_one_the_target_weighs_more_and_the_others_less(three):
    """The gradient at uniform student logits is minus the enhanced target, centred: read the target off it."""
    _, teacher, target = three
    student = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
    ofa(student, teacher, target, gamma=1.5).backward()
    p = F.softmax(teacher, dim=1)
    enhanced = torch.where(F.one_hot(target, 5) == 1, (1 + p) ** 1.5 - 1, p**1.5)
    expected = (enhanced.sum(dim=1, keepdim=True) / 5 - enhanced) / 6
    torch.testing.assert_close(student.grad, expected)
    assert (enhanced.gather(1, target[:, None]) > p.gather(1, target[:, None])).all()


def test_of_mixed_labels_the_larger_part_counts(three):
    student, teacher, target = three
    other = (target + 2) % 5
    mixed = 0.6 * F.one_hot(target, 5).double() + 0.4 * F.one_hot(other, 5).double()
    assert ofa(student, teacher, mixed, 1.5).item() == ofa(student, teacher, target, 1.5).item()
    assert ofa(student, teacher, 1 - mixed, 1.5).item() != ofa(student, teacher, target, 1.5).item()


def test_a_student_that_is_certain_and_wrong_stays_finite():
    """Its probability of the target underflows to 0; the logarithm must not."""
    student = torch.tensor([[0.0, 300.0, 0.0]], requires_grad=True)
    loss = ofa(student, torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([0]), gamma=1.5)
    loss.backward()
    assert loss.item() == pytest.approx(300 * (2**1.5 - 1), rel=0.01)
    assert student.grad.isfinite().all()


def test_constant_logits_are_finite(three):
    target = three[2]
    loss = ofa(torch.zeros(6, 5), torch.zeros(6, 5), target, gamma=1.0)
    assert loss.item() == pytest.approx(math.log(5), rel=1e-6)


def test_bad_input_is_an_error(three):
    student, teacher, target = three
    with pytest.raises(ValueError, match="gamma must be > 0"):
        ofa(student, teacher, target, gamma=0.0)
    with pytest.raises(ValueError, match=r"expected labels \(6,\) int64 or \(6, 5\) float, got \(5,\)"):
        ofa(student, teacher, target[:5])
    with pytest.raises(ValueError, match="temperature"):
        ofa(student, teacher, target, temperature=-1.0)


def test_bf16_gives_fp32(three):
    student, teacher, target = three
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ofa(student.bfloat16(), teacher.bfloat16(), target, 1.5).dtype == torch.float32
