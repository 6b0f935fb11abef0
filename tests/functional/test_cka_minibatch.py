"""Minibatch CKA: the average of Nguyen et al., whatever the batches that the samples come in."""

import math

import pytest
import torch

from kdbias.functional import linear_cka, rbf_cka
from kdbias.functional.cka.minibatch import MinibatchCKA
from kdbias.functional.cka.structure import NoStructure


def gaussian(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n):
    latent = gaussian(0, n, 4)
    return [latent @ gaussian(i, 4, d) + gaussian(10 + i, n, d) for i, d in ((1, 6), (2, 30), (3, 3))]


def stream(xs, ys, sizes, **settings):
    cka = MinibatchCKA(**settings)
    parts = zip(*(x.split(sizes) for x in xs), strict=True), zip(*(y.split(sizes) for y in ys or xs), strict=True)
    for x, y in zip(*parts, strict=True):
        cka.update(list(x), None if ys is None else list(y))
    return cka


def song(k, l):  # noqa: E741
    """Debiased HSIC as Nguyen et al. write it, eq. 3, with zero diagonals and vectors of ones."""
    n = len(k)
    k, l = k - k.diag().diag(), l - l.diag().diag()  # noqa: E741
    one = torch.ones(n, 1, dtype=k.dtype)
    middle = (one.T @ k @ one @ one.T @ l @ one) / ((n - 1) * (n - 2))
    return (torch.trace(k @ l) + middle - 2 / (n - 2) * (one.T @ k @ l @ one)).item() / (n * (n - 3))


def test_linear_is_the_average_of_the_paper():
    xs, ys = related(48)[:2], related(48)[1:]
    found = stream(xs, ys, 48, batch=12).compute()
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            grams = [(a @ a.T, b @ b.T) for a, b in zip(x.split(12), y.split(12), strict=True)]
            cross = sum(song(k, l) for k, l in grams)  # noqa: E741
            own_x, own_y = sum(song(k, k) for k, _ in grams), sum(song(l, l) for _, l in grams)  # noqa: E741
            assert found[i, j].item() == pytest.approx(cross / math.sqrt(own_x * own_y), rel=1e-9)


@pytest.mark.parametrize(("kernel", "alone"), [("linear", linear_cka), ("rbf", rbf_cka)])
def test_one_minibatch_is_all_at_once(kernel, alone):
    xs = related(40)
    found = stream(xs, None, 13, kernel=kernel, batch=40).compute()
    expected = torch.stack([torch.stack([alone(x, y) for y in xs]) for x in xs])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found, stream(xs, xs, 40, kernel=kernel, batch=40).compute(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [50, 7, [1, 30, 19]])
def test_minibatches_do_not_depend_on_the_batches_that_come(sizes):
    """Of 50 samples, 16 at a time, 2 are left out; of 54, the last 6 are a minibatch of their own."""
    xs = related(50)
    cka = stream(xs, None, sizes, kernel="rbf", batch=16)
    assert cka.n == 48
    expected = stream([x[:48] for x in xs], None, 16, kernel="rbf", batch=16).compute()
    torch.testing.assert_close(cka.compute(), expected, rtol=0, atol=1e-12)
    cka.update([torch.cat([x[:1], x[:3]]) * 1.5 for x in related(50)])
    assert cka.n == 54
    assert not torch.allclose(cka.compute(), expected)


def test_fp32_is_near_fp64_also_with_a_mean_far_from_zero():
    xs = [x + 30 for x in related(64)]
    found = stream([x.float() for x in xs], None, 32, batch=32).compute()
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, stream(xs, None, 32, batch=32).compute(), rtol=0, atol=1e-4)


def test_independent_features_are_at_zero_on_average():
    """Wide ones, as flat tokens are: over 30 draws the mean is 0 within 4 standard errors, and these are small."""
    draws = []
    for seed in range(30):
        xs = [gaussian(100 + seed, 64, 300), gaussian(200 + seed, 64, 500)]
        draws.append(stream(xs, None, 64, batch=16).compute()[0, 1])
    draws = torch.stack(draws)
    error = draws.std() / math.sqrt(30)
    assert error < 0.02
    assert abs(draws.mean()) < 4 * error


def test_errors_say_what_came():
    with pytest.raises(ValueError, match="kernel must be one of linear, rbf, got 'poly'"):
        MinibatchCKA("poly")
    with pytest.raises(ValueError, match="batch >= 4 and scale > 0, got 3 and 1"):
        MinibatchCKA(batch=3)
    cka = MinibatchCKA(batch=8)
    cka.update([torch.randn(3, 2)])
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        cka.compute()
    with pytest.raises(ValueError, match=r"HSIC\(y\[1\], y\[1\]\) is 0"):
        stream([gaussian(0, 12, 3)], [gaussian(1, 12, 3), torch.ones(12, 2)], 6, batch=6).compute()


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_all_layers_without_structure_are_told(kernel):
    x, flat = gaussian(0, 12, 3), torch.full((12, 4), 0.1)
    with pytest.raises(NoStructure) as found:
        stream([x, x], [flat, x, flat], 6, kernel=kernel, batch=6).compute()
    assert found.value.side == 1
    assert found.value.layers == ((0, 2) if kernel == "linear" else (0,))
    assert "CKA with y[0]" in str(found.value)


def test_merging_adds_minibatches_and_leaves_the_other_as_it_is():
    xs = related(44)
    one, two = (stream([x[part] for x in xs], None, 7, kernel="rbf", batch=12) for part in (slice(24), slice(24, 44)))
    one.merge(two)  # 2 minibatches, with 1 and a rest of 8
    assert (one.n, two.n) == (44, 20)
    expected = stream(xs, None, 44, kernel="rbf", batch=12).compute()
    torch.testing.assert_close(one.compute(), expected, rtol=1e-12, atol=0)
    empty = MinibatchCKA("rbf", batch=12)
    empty.merge(one)
    empty.merge(MinibatchCKA("rbf", batch=12))
    torch.testing.assert_close(empty.compute(), expected, rtol=1e-12, atol=0)
    one.update([x[:4] for x in xs])  # a rest of its own again
    two.update([x[:4] for x in xs])  # fills the minibatch of 12
    assert (one.n, two.n, empty.n) == (48, 24, 44)


def test_other_layers_or_settings_cannot_be_added():
    xs = related(12)
    cka = stream(xs, None, 12, batch=8)
    with pytest.raises(ValueError, match=r"widths \[\[6, 30, 3\]\] as in the first batch, got \[\[6, 30\]\]"):
        cka.update(xs[:2])
    for other in (MinibatchCKA("rbf", 8), MinibatchCKA(batch=16), stream(xs, xs, 12, batch=8)):
        with pytest.raises(ValueError, match=r"expected the same kernel, batch, scale and widths .*\(there\)"):
            cka.merge(other)
    assert cka.n == 12
