"""CKA of many sets at once: equal to each alone, and quiet where CKA is undefined."""

import pytest
import torch

from kdbias.functional import batched_cka, linear_cka, rbf_cka

SETTINGS = [(k, e) for k in ("linear", "rbf") for e in ("biased", "debiased")]


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(sets: int, n: int, d1: int, d2: int):
    x = gaussian(0, sets, n, d1)
    return x, torch.tanh(x @ gaussian(1, d1, d2)) + gaussian(2, sets, n, d2)


@pytest.mark.parametrize(("kernel", "estimator"), SETTINGS)
@pytest.mark.parametrize("n", [9, 8, 40])  # pairs odd and even; 40 exceeds the widths
def test_each_set_is_the_metric_of_it_alone(kernel, estimator, n):
    x, y = related(3, n, 5, 7)
    if kernel == "linear":
        expected = [linear_cka(a, b, estimator) for a, b in zip(x, y, strict=True)]
    else:
        expected = [rbf_cka(a, b, 0.7, estimator) for a, b in zip(x, y, strict=True)]
    found = batched_cka(x, y, kernel, estimator, scale=0.7)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(batched_cka(x[0], y[0], kernel, estimator, scale=0.7), expected[0])


def test_linear_biased_in_loops():
    """Sums over pairs of tokens of the products of doubly centred similarities, from the definition."""
    (x,), (y,) = related(1, 6, 3, 4)

    def centred(z):
        k = [[float(a @ b) for b in z] for a in z]
        rows, total = [sum(r) / 6 for r in k], sum(map(sum, k)) / 36
        return [[k[i][j] - rows[i] - rows[j] + total for j in range(6)] for i in range(6)]

    def hsic(a, b):
        return sum(a[i][j] * b[i][j] for i in range(6) for j in range(6))

    k, l = centred(x), centred(y)  # noqa: E741
    expected = hsic(k, l) / (hsic(k, k) * hsic(l, l)) ** 0.5
    assert batched_cka(x, y).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kernel", "estimator"), SETTINGS)
def test_blind_to_rotation_scale_and_shift(kernel, estimator):
    x, y = related(2, 12, 6, 9)
    moved = -3.5 * x @ torch.linalg.qr(gaussian(3, 6, 6)).Q + 4.0
    torch.testing.assert_close(
        batched_cka(moved, y, kernel, estimator), batched_cka(x, y, kernel, estimator), rtol=1e-8, atol=1e-10
    )
    torch.testing.assert_close(batched_cka(moved, x, kernel, estimator), torch.ones(2, dtype=torch.float64))
    assert batched_cka(x * torch.logspace(0, 2, 6), x, kernel, estimator).max() < 0.99


@pytest.mark.parametrize("n", [8, 20])
@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_gradient_against_finite_differences(estimator, n):
    """Also though the size of the features is taken out of the gradient: CKA does not see it."""
    x, y = related(2, n, 3, 4)
    assert torch.autograd.gradcheck(lambda a: batched_cka(a, y, "linear", estimator), x.requires_grad_())


def one_differs(n, d):
    return torch.cat([torch.ones(1, d), torch.zeros(n - 1, d)])


UNDEFINED = {
    "zeros": (torch.zeros(16, 4), None),
    "constant": (torch.full((16, 4), 0.1), None),
    "wide constant": (torch.full((16, 40), 0.1), None),
    "all equal but one, debiased": (one_differs(16, 4), ("linear", "debiased")),
    "equally far, debiased": (torch.eye(16), ("linear", "debiased")),
    "most coincide, rbf": (one_differs(16, 4), ("rbf", "biased")),
}


@pytest.mark.parametrize(("x", "setting"), UNDEFINED.values(), ids=UNDEFINED.keys())
@pytest.mark.parametrize("swapped", [False, True])
def test_undefined_sets_are_zero_without_gradient_and_leave_the_others_alone(x, setting, swapped):
    y = gaussian(4, 2, 16, 5).float()
    good = gaussian(5, *x.shape).float()
    for kernel, estimator in [setting] if setting else SETTINGS:
        both = torch.stack([x, good]).requires_grad_()
        args = (y, both) if swapped else (both, y)
        found = batched_cka(*args, kernel, estimator)
        alone = batched_cka(*((y[1], good) if swapped else (good, y[1])), kernel, estimator)
        assert found[0] == 0
        torch.testing.assert_close(found[1], alone)
        found.sum().backward()
        assert both.grad[0].eq(0).all()
        assert both.grad[1].isfinite().all()
        assert both.grad[1].norm() > 0


def test_features_that_are_not_finite_are_not_hidden():
    x, y = related(1, 8, 3, 4)
    x[0, 2, 1] = float("nan")
    for kernel, estimator in SETTINGS:
        assert batched_cka(x, y, kernel, estimator).isnan().all()


def test_bf16_under_autocast_is_computed_in_fp32():
    x, y = (t.bfloat16() for t in related(2, 24, 48, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = batched_cka(x + 20.0, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), batched_cka((x + 20.0).double(), y.double()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "poly"}, "kernel must be one of linear, rbf, got 'poly'"),
        ({"estimator": "unbiased"}, "'debiased' or 'biased', got 'unbiased'"),
        ({"scale": 0.0}, "scale must be > 0"),
        ({"y": torch.zeros(5, 2)}, r"of the same n samples, got \(3, 2\) and \(5, 2\)"),
        ({"estimator": "debiased"}, "debiased CKA as a loss needs at least 4 samples, got 3"),
        ({"x": torch.zeros(2, 2), "y": torch.zeros(2, 2)}, "biased CKA as a loss needs at least 3 samples, got 2"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        batched_cka(**{"x": torch.zeros(3, 2), "y": torch.zeros(3, 2), **arguments})
