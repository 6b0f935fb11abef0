"""Dense logits and their targets: the official code's numbers, counts by loops, ends of the mixture, gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import cskd_dense, cskd_target


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


@pytest.fixture
def two():
    """The student's and the teacher's logits, five classes on 3×2 places."""
    return wave(4, 5, 3, 2, step=0.37), wave(4, 5, 3, 2, step=0.83)


HARD = [
    0.0006572442589256864,
    0.0006892055861712587,
    0.0005769384886862227,
    -0.002156090304602239,
    0.00023270197081907124,
]
SOFT = [
    0.010276412306720332,
    0.004717012020381509,
    0.017518016430006642,
    -0.03821615347607773,
    0.005704712718969242,
]
WARM = [
    0.009711372991767851,
    -0.0003194752789961175,
    0.023443965713765162,
    -0.046608687028784956,
    0.013772823602248057,
]
OFFICIAL = [  # kind, temperature, ratio, loss, length of the gradient, gradient of the first token
    ("hard", 1.0, 0.7, 1.7439575981225703, 0.046169694858717775, HARD),
    ("hard", 1.0, 0.7**2, 1.7475853180378569, 0.04622058401866392, HARD),
    ("hard", 1.0, math.cos(0.15 * math.pi), 1.7391553700217646, 0.04612098101475249, HARD),
    ("soft", 1.0, 0.7, 30.608717471177556, 1.1837264783837134, SOFT),
    ("soft", 2.0, math.cos(0.15 * math.pi), 62.9766396876202, 1.7177155866682647, WARM),
]


@pytest.mark.parametrize(("kind", "tau", "ratio", "loss", "length", "first"), OFFICIAL)
def test_official_numbers(kind, tau, ratio, loss, length, first):
    """From ``CSKDLoss.get_loss_cskd`` of cskd/cskd.py, Zzzzz1/CSKD, in fp64, at three tenths of training."""
    tokens = wave(2, 196, 5, step=0.37).requires_grad_()
    dense = F.avg_pool2d(tokens.mT.reshape(2, 5, 14, 14), 2)
    target = cskd_target(wave(2, 5, 7, 7, step=0.83), ratio)
    value = cskd_dense(dense, target, kind == "hard", tau)
    value.backward()
    assert value.item() == pytest.approx(loss, rel=1e-12)
    assert tokens.grad.norm().item() == pytest.approx(length, rel=1e-12)
    assert tokens.grad[0, 0].tolist() == pytest.approx(first, rel=1e-10)


def softmax(logits, tau=1.0):
    powers = [math.exp(z / tau) for z in logits]
    return [p / sum(powers) for p in powers]


def places(dense):
    """Give the logits of every place of every image."""
    return dense.permute(0, 2, 3, 1).reshape(-1, dense.shape[1]).tolist()


def test_hard_by_loops(two):
    rows = list(zip(*map(places, two), strict=True))
    expected = sum(-math.log(softmax(s)[t.index(max(t))]) for s, t in rows) / 24
    assert cskd_dense(*two).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_soft_by_loops_is_a_sum_over_places(two, tau):
    total = 0.0
    for s, t in zip(*map(places, two), strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(t, tau), softmax(s, tau), strict=True))
    assert cskd_dense(*two, hard=False, temperature=tau).item() == pytest.approx(tau**2 * total / 4, rel=1e-12)


def test_the_mixture_goes_from_each_place_to_the_mean(two):
    _, dense = two
    assert torch.equal(cskd_target(dense, 1.0), dense)
    mean = dense.flatten(2).mean(2)
    everywhere = cskd_target(dense, 0.0)
    torch.testing.assert_close(everywhere, mean[:, :, None, None].expand_as(dense))
    half = cskd_target(dense, 0.25)
    torch.testing.assert_close(half, 0.25 * dense + 0.75 * everywhere)
    torch.testing.assert_close(half.flatten(2).mean(2), mean)


def test_at_the_end_every_place_learns_the_class_of_the_image(two):
    student, dense = two
    label = dense.mean((2, 3)).argmax(1)
    expected = F.cross_entropy(student.permute(0, 2, 3, 1).flatten(0, 2), label.repeat_interleave(6))
    torch.testing.assert_close(cskd_dense(student, cskd_target(dense, 0.0)), expected)


def test_equal_logits_have_no_loss_and_a_shift_of_a_place_does_not_count(two):
    student, target = two
    shifted = target + wave(4, 1, 3, 2)
    assert cskd_dense(shifted, target, hard=False, temperature=2.0).item() == pytest.approx(0.0, abs=1e-12)
    for hard in (True, False):
        torch.testing.assert_close(cskd_dense(student, shifted, hard), cskd_dense(student, target, hard))


def test_places_moved_together_do_not_count_and_alone_do(two):
    student, target = two
    for hard in (True, False):
        loss = cskd_dense(student, target, hard)
        torch.testing.assert_close(cskd_dense(student.flip(2), target.flip(2), hard), loss)
        assert abs(cskd_dense(student.flip(2), target, hard) - loss) > 0.01


def test_the_hard_loss_has_a_gradient_to_the_student_alone(two):
    student, target = (x.requires_grad_() for x in two)
    cskd_dense(student, target).backward()
    assert target.grad is None
    assert (student.grad.abs().sum(1) > 0).all()


def test_gradients_are_those_of_the_formula(two):
    student, target = two
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cskd_dense(x, target), student)
    assert torch.autograd.gradcheck(lambda x: cskd_dense(x, target, hard=False, temperature=2.0), student)


def test_autocast_does_not_count(two):
    student, dense = (x.float() for x in two)
    target = cskd_target(dense, 0.3)
    outside = {hard: cskd_dense(student, target, hard) for hard in (True, False)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cskd_target(dense, 0.3), target)
        assert cskd_target(dense.bfloat16(), 0.3).dtype == torch.float32
        for hard in (True, False):
            assert torch.equal(cskd_dense(student, target, hard), outside[hard])
            assert cskd_dense(student.bfloat16(), target.bfloat16(), hard).dtype == torch.float32
    assert cskd_target(two[1], 0.3).dtype == torch.float64
    for hard in (True, False):
        in_fp64 = cskd_dense(*two, hard)
        assert in_fp64.dtype == torch.float64
        torch.testing.assert_close(cskd_dense(student, dense, hard).double(), in_fp64, rtol=1e-6, atol=0.0)


def test_bad_input_is_an_error(two):
    student, target = two
    with pytest.raises(ValueError, match=r"resampled to one grid, got \(4, 5, 3, 2\) and \(4, 5, 3, 1\)"):
        cskd_dense(student, target[..., :1])
    with pytest.raises(ValueError, match=r"got \(4, 5\) and \(4, 5\)"):
        cskd_dense(student[..., 0, 0], target[..., 0, 0])
    with pytest.raises(ValueError, match=r"one shape \(B, C, h, w\), resampled to one grid, got \(4, 5, 0, 2\)"):
        cskd_target(target[:, :, :0], 0.5)
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"ratio must be in 0\.\.1"):
            cskd_target(target, ratio)
    for hard in (True, False):
        with pytest.raises(ValueError, match="temperature must be > 0"):
            cskd_dense(student, target, hard, temperature=0.0)
    with pytest.raises(ValueError, match=r"hard targets have no temperature, got 4.0: set hard to false"):
        cskd_dense(student, target, temperature=4.0)
