"""Numbers are those of the official code (``DINOLoss``) and, with three views, of lightly's, on the same inputs."""

import math

import pytest
import torch

from kdbias.functional.dino_loss import dino_loss, dino_targets, moved_center


def waves(*shape, phase=0.0):
    return (torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + phase).sin().mul(0.13).reshape(shape)


TEACHER = torch.stack([waves(4, 6), waves(4, 6, phase=1.0)])
STUDENT = torch.stack([waves(4, 6, phase=0.3), waves(4, 6, phase=0.8), waves(4, 6, phase=2.0)])


def test_two_steps_equal_the_official_code():
    center = torch.zeros(6, dtype=torch.float64)
    losses = []
    for _ in range(2):
        losses.append(dino_loss(STUDENT[:2], dino_targets(TEACHER, center, 0.04), 0.1).item())
        center = moved_center(center, TEACHER, 0.9)
    assert losses == pytest.approx([1.4186111513027284, 1.4203186505974656], rel=1e-12)
    assert center[0].item() == pytest.approx(0.0005378470783683989, rel=1e-12)


def test_a_third_view_is_compared_with_both_targets():
    loss = dino_loss(STUDENT, dino_targets(TEACHER, torch.zeros(6), 0.04), 0.1)
    assert loss.item() == pytest.approx(1.7572546533, rel=1e-8)


def test_a_perfect_student_is_left_with_the_entropy_of_the_targets():
    targets = dino_targets(TEACHER[:1].expand(2, -1, -1), torch.zeros(6), 0.1)
    entropy = torch.special.entr(targets).sum(-1).mean()
    assert dino_loss(TEACHER[:1].expand(2, -1, -1), targets, 0.1).item() == pytest.approx(entropy.item(), rel=1e-12)


def test_targets_have_no_gradient():
    teacher = TEACHER.clone().requires_grad_()
    assert not dino_targets(teacher, torch.zeros(6)).requires_grad


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="at least 2 views"):
        dino_loss(STUDENT[:1], TEACHER[:1])
    with pytest.raises(ValueError, match="temperature"):
        dino_targets(TEACHER, torch.zeros(6), 0.0)
