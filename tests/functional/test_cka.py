"""CKA: definitions in loops, invariances, noise, and no NaN in silence."""

import itertools
import math

import pytest
import torch

from kdbias.functional import linear_cka, rbf_cka
from kdbias.functional.cka.exact import cka_of_grams
from kdbias.functional.cka.hsic import centre_gram, hsic_from_features, hsic_from_grams


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int, d1: int, d2: int):
    """Two views of the same latent factors."""
    latent = gaussian(0, n, 6)
    x = latent @ gaussian(1, 6, d1) + gaussian(2, n, d1)
    return x, latent.tanh() @ gaussian(3, 6, d2) + gaussian(4, n, d2)


def song(k: torch.Tensor, l: torch.Tensor) -> float:  # noqa: E741
    """The unbiased HSIC as a U-statistic: its sums run over different i, j, q, r (Song et al., 2012, eq. 4)."""
    n, total = len(k), 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
    return float(total) / math.perm(n, 4)


def test_debiased_hsic_is_the_u_statistic():
    x, y = related(7, 3, 4)
    k, l = x @ x.T, (y @ y.T).tanh()  # noqa: E741
    ours = hsic_from_grams(centre_gram(k, "debiased"), centre_gram(l, "debiased"), "debiased")
    assert ours.item() == pytest.approx(song(k, l), rel=1e-12)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_features_and_grams_give_the_same_hsic(estimator):
    x, y = related(40, 5, 9)
    x, y = x - x.mean(0), y - y.mean(0)
    grams = hsic_from_grams(centre_gram(x @ x.T, estimator), centre_gram(y @ y.T, estimator), estimator)
    torch.testing.assert_close(hsic_from_features(x, y, estimator), grams, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [40, 8])
def test_biased_is_that_of_the_paper(n):
    """|YᵀX|² / (|XᵀX| |YᵀY|) with centred columns (Kornblith et al., eq. 4); n = 8 takes the way by Gram matrices."""
    x, y = related(n, 5, 9)
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    torch.testing.assert_close(linear_cka(x, y, "biased"), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize("cka", [linear_cka, rbf_cka])
@pytest.mark.parametrize("n", [64, 10])
def test_blind_to_rotation_scale_and_shift(cka, estimator, n):
    x, y = related(n, 12, 20)
    rotation = torch.linalg.qr(gaussian(5, 12, 12)).Q
    moved = -3.5 * x @ rotation + 4.0
    torch.testing.assert_close(
        cka(moved, y, estimator=estimator), cka(x, y, estimator=estimator), rtol=1e-9, atol=1e-12
    )
    assert cka(moved, x, estimator=estimator).item() == pytest.approx(1.0, abs=1e-9)
    torch.testing.assert_close(cka(y, x, estimator=estimator), cka(x, y, estimator=estimator))


def test_not_blind_to_any_invertible_map():
    x, _ = related(64, 12, 1)
    assert linear_cka(x * torch.logspace(0, 2, 12), x).item() < 0.95


def test_independent_noise_is_zero_only_when_debiased():
    """Over 20 draws the debiased mean is 0 within 4 standard errors; the biased value is a matter of n and d."""
    pairs = [(gaussian(10 + i, 64, 256), gaussian(110 + i, 64, 256)) for i in range(20)]
    debiased = torch.stack([linear_cka(x, y) for x, y in pairs])
    assert abs(debiased.mean()) < 4 * debiased.std() / math.sqrt(20)
    assert debiased.min() < 0
    assert torch.stack([linear_cka(x, y, "biased") for x, y in pairs]).mean().item() == pytest.approx(0.80, abs=0.01)


@pytest.mark.parametrize(("n", "draws"), [(64, 200), (512, 40), (4096, 4)])
def test_independent_features_are_within_two_hundredths_of_zero_at_any_size(n, draws):
    """The mean over draws; a single draw at n = 64 is off by more."""
    found = [linear_cka(gaussian(1000 + i, n, 192), gaussian(5000 + i, n, 192)) for i in range(draws)]
    assert abs(torch.stack(found).mean()) < 0.02


def test_rbf_against_a_loop():
    x, y = related(9, 3, 4)

    def gram(z):
        distances = [(z[i] - z[j]).norm().item() for i, j in itertools.combinations(range(9), 2)]
        width = 0.7 * sorted(distances)[17] / 2 + 0.7 * sorted(distances)[18] / 2
        return torch.stack([torch.stack([(-((a - b).norm() ** 2) / (2 * width**2)).exp() for b in z]) for a in z])

    for estimator in ("debiased", "biased"):
        expected = cka_of_grams(gram(x), gram(y), estimator)
        torch.testing.assert_close(rbf_cka(x, y, 0.7, estimator), expected, rtol=1e-10, atol=0)


def test_a_wide_rbf_is_linear():
    x, y = related(50, 8, 8)
    assert rbf_cka(x, y, scale=1000.0).item() == pytest.approx(linear_cka(x, y).item(), abs=1e-5)
    assert rbf_cka(x.float(), y.float(), scale=100.0).item() == pytest.approx(linear_cka(x, y).item(), abs=2e-3)


def test_a_batch_of_comparisons_is_each_alone():
    x, y = gaussian(20, 3, 9, 4), gaussian(21, 3, 9, 5)
    together = cka_of_grams(x @ x.mT, y @ y.mT, "debiased")
    torch.testing.assert_close(
        together, torch.stack([linear_cka(a, b) for a, b in zip(x, y, strict=True)]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("n", [256, 24])
@pytest.mark.parametrize("cka", [linear_cka, rbf_cka])
def test_bf16_under_autocast_is_computed_in_fp32(cka, n):
    """Also with a mean far from 0, which would swallow the digits of the sums."""
    x, y = related(n, 48, 32)
    x, y = (x + 20.0).bfloat16(), y.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = cka(x, y)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(cka(x.double(), y.double()).item(), abs=1e-4)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_any_size_of_features(size):
    x, y = related(32, 6, 6)
    assert linear_cka(x.float() * size, y.float()).item() == pytest.approx(linear_cka(x, y).item(), abs=1e-5)


@pytest.mark.parametrize("cka", [linear_cka, rbf_cka])
def test_gradient_against_finite_differences(cka):
    x, y = related(8, 3, 2)
    if cka is linear_cka:
        assert torch.autograd.gradcheck(lambda a: cka(a, y), x.requires_grad_())
    else:  # the width is a constant for the gradient, so only its direction can be compared
        x.requires_grad_()
        cka(x, y).backward()
        with torch.no_grad():
            assert cka(x + 1e-3 * x.grad, y) > cka(x, y)


def only_one_differs(n, d):
    return torch.cat([torch.ones(1, d), torch.zeros(n - 1, d)])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((16, 4), 0.1), "features of x are constant"),
        (torch.full((16, 4), float("nan")), "not finite"),
        (only_one_differs(16, 4), "equal for all samples but one"),
        (only_one_differs(16, 40), "equal for all samples but one"),
        (torch.eye(16), "equally far from each other"),
        (torch.randn(16), r"expected features .* got \(16,\), \(16, 3\)"),
        (torch.randn(15, 4), "of the same samples"),
    ],
)
def test_no_nan_in_silence(x, message):
    y = gaussian(30, 16, 3).float()
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y)
    with pytest.raises(ValueError):
        linear_cka(y, x)


def test_too_few_samples_and_wrong_names():
    x, y = related(3, 4, 4)
    with pytest.raises(ValueError, match="debiased CKA needs at least 4 samples, got 3"):
        linear_cka(x, y)
    assert 0.0 <= linear_cka(x, y, "biased").item() <= 1.0
    with pytest.raises(ValueError, match="'debiased' or 'biased', got 'unbiased'"):
        linear_cka(x, y, "unbiased")
    with pytest.raises(ValueError, match="scale must be > 0"):
        rbf_cka(*related(8, 4, 4), scale=0.0)


def test_rbf_without_a_width_is_an_error():
    x = only_one_differs(16, 4)
    with pytest.raises(ValueError, match="median distance between samples of x is 0"):
        rbf_cka(x, gaussian(31, 16, 3).float())
