"""Relations between images: official numbers, invariances, degenerate features, parts that are computed one by one."""

import pytest
import torch

from kdbias.functional import rkd as module
from kdbias.functional.rkd import rkd


@pytest.fixture
def two():
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(7, 5, generator=draw, dtype=torch.float64)
    return student, torch.randn(7, 9, generator=draw, dtype=torch.float64) * 3 + 1


@pytest.mark.parametrize(
    ("settings", "official"),
    [
        ({}, 3.9095134396953304),
        ({"distance": 1, "angle": 0}, 0.04170248384255331),
        ({"distance": 0, "angle": 1}, 0.057339026872629956),
        ({"squared": True}, 6.514719832241798),
        ({"distance": 1, "angle": 0, "squared": True}, 0.145910739544412),
    ],
)
def test_official_numbers(two, settings, official):
    """From ``rkd_loss`` of mdistiller/distillers/RKD.py, megvii-research/mdistiller, in fp64."""
    assert rkd(*two, **settings).item() == pytest.approx(official, rel=1e-12)


def test_turned_moved_and_scaled_features_are_the_same(two):
    student, teacher = two
    turn = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    assert rkd(3 * teacher @ turn - 7, teacher).item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(rkd(student, 0.1 * teacher + 4), rkd(student, teacher))
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(rkd(student[order], teacher[order]), rkd(student, teacher))


def test_parts_give_the_whole(two, monkeypatch):
    """The angles of a large batch are computed in parts, and once more for the gradient."""

    def found():
        student = two[0].clone().requires_grad_()
        loss = rkd(student, two[1])
        loss.backward()
        return loss.detach(), student.grad

    whole = found()
    monkeypatch.setattr(module, "LARGEST", 2 * 7 * 9 + 1)  # two images at once, and one is left
    torch.testing.assert_close(found(), whole, rtol=1e-12, atol=1e-15)


def test_gradient(two):
    student, teacher = two
    assert torch.autograd.gradcheck(lambda x: rkd(x, teacher), student.requires_grad_())


@pytest.mark.parametrize("equal", [2, 7])
def test_equal_features_have_a_finite_gradient(two, equal):
    student = two[0].clone()
    student[:equal] = 1.0
    loss = rkd(student.requires_grad_(), two[1])
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100  # dividing by a length of 0 + eps gives 1e10 and more


def test_no_images_to_compare_and_unlike_numbers_are_refused(two):
    student, teacher = two
    with pytest.raises(ValueError, match="needs 3 images or more, got 2"):
        rkd(student[:2], teacher[:2])
    with pytest.raises(ValueError, match=r"of the same images, got \(7, 5\) and \(6, 9\)"):
        rkd(student, teacher[:6])


def test_it_is_fp32_under_autocast(two):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = [x.float() for x in two]
        assert rkd(*(x.bfloat16() for x in single)).dtype == torch.float32
        assert rkd(*single).item() == pytest.approx(rkd(*two).item(), rel=1e-5)
