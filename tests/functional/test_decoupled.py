"""Decoupled distillation: its own identity with KL, the definition by masks, errors."""

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import dkd, soft_kl


@pytest.fixture
def three():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(16, 10, generator=generator, dtype=torch.float64) * 3
    teacher = torch.randn(16, 10, generator=generator, dtype=torch.float64) * 5
    return student, teacher, torch.randint(10, (16,), generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_tckd_plus_the_rest_of_nckd(three, temperature):
    """KL = TCKD + (1 - p_t) NCKD, image by image (Zhao et al., eq. 5)."""
    student, teacher, target = three
    for s, t, y in zip(student[:, None], teacher[:, None], target[:, None], strict=True):
        p_t = F.softmax(t / temperature, dim=1)[0, y].item()
        decoupled = dkd(s, t, y, alpha=1.0, beta=1.0 - p_t, temperature=temperature)
        assert decoupled.item() == pytest.approx(soft_kl(s, t, temperature).item(), rel=1e-12)


def test_both_parts_equal_probabilities_counted_apart(three):
    student, teacher, target = three
    p, q = F.softmax(teacher / 4, dim=1), F.softmax(student / 4, dim=1)
    # tau² / B = 16 / 16, so the loss is the plain sum.
    tckd = nckd = 0.0
    for row in range(16):
        y = int(target[row])
        a, b = p[row, y], q[row, y]
        tckd += a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
        for c in range(10):
            if c != y:
                nckd += p[row, c] / (1 - a) * ((p[row, c] / (1 - a)) / (q[row, c] / (1 - b))).log()
    assert dkd(student, teacher, target, 1.0, 0.0, 4.0).item() == pytest.approx(tckd.item(), rel=1e-10)
    assert dkd(student, teacher, target, 0.0, 1.0, 4.0).item() == pytest.approx(nckd.item(), rel=1e-10)
    assert dkd(student, teacher, target).item() == pytest.approx(tckd.item() + 8 * nckd.item(), rel=1e-10)


def test_zero_of_itself_and_positive_otherwise(three):
    student, teacher, target = three
    assert dkd(teacher, teacher, target).item() == 0.0
    assert dkd(student, teacher, target).item() > 1.0


def test_nckd_does_not_see_the_target_logit(three):
    student, teacher, target = three
    moved = student + 7.0 * F.one_hot(target, 10)
    torch.testing.assert_close(
        dkd(moved, teacher, target, alpha=0.0, beta=1.0), dkd(student, teacher, target, alpha=0.0, beta=1.0)
    )


def test_a_certain_teacher_stays_finite():
    """The probability of the other classes underflows to 0; its logarithm must not."""
    student, teacher = torch.tensor([[0.0, 300.0, 0.0]]).requires_grad_(), torch.tensor([[300.0, 0.0, 0.0]])
    loss = dkd(student, teacher, torch.tensor([0]), temperature=1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_bf16_gives_fp32(three):
    student, teacher, target = three
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dkd(student.bfloat16(), teacher.bfloat16(), target).dtype == torch.float32


def test_mixed_labels_are_an_error_with_a_remedy(three):
    student, teacher, target = three
    with pytest.raises(ValueError, match=r"hard labels \(16,\) int64, got \(16, 10\).*switch MixUp and CutMix off"):
        dkd(student, teacher, F.one_hot(target, 10).double())
    with pytest.raises(ValueError, match="at least 2 classes"):
        dkd(student[:, :1], teacher[:, :1], target)
    with pytest.raises(ValueError, match="temperature"):
        dkd(student, teacher, target, temperature=-1.0)
