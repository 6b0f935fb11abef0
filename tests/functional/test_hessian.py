"""Against whole matrices, built row by row, reverse over reverse (torch.func.hessian is wrong with layer_norm)."""

import doctest
from functools import cache
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from kdbias.functional import hessian_eigenvalues, hessian_trace
from kdbias.functional.hessian.density import hessian_spectrum
from kdbias.functional.hessian.eigenvalues import hessian_eigenpairs
from kdbias.functional.hessian.product import HessianProduct
from kdbias.functional.hessian.trace import trace_samples


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def matrix_of(loss, parameters):
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels raise
        gradient = torch.autograd.grad(loss(), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in flat]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


def quadratic(size=150, seed=0):
    """A quadratic with known eigenvalues, both signs, in a random basis."""
    basis = torch.linalg.qr(torch.randn(size, size, generator=seeded(seed), dtype=torch.float64))[0]
    values = torch.linspace(-3, 4, size, dtype=torch.float64) ** 3 / 10
    matrix = basis * values @ basis.T
    w = torch.randn(size, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    return (lambda: w @ matrix @ w / 2), [w], values, matrix


class Attending(nn.Module):
    """Attention through the fused function, with LayerNorm."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.head = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(8, 3)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.head(nn.functional.gelu(x + scaled_dot_product_attention(q, k, v)).mean(1))


def attending():
    torch.manual_seed(0)
    network = Attending().double().eval()
    nn.init.normal_(network.norm.weight), nn.init.normal_(network.norm.bias)
    x, y = torch.randn(24, 4, 5, dtype=torch.float64), torch.randint(3, (24,))
    return network, x, y


def convolving():
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(64, 3)]
    network = nn.Sequential(*layers).double()
    x, y = 2 + torch.randn(24, 2, 6, 6, dtype=torch.float64), torch.randint(3, (24,))
    network(x)  # moves the statistics
    return network.eval(), x, y


@pytest.fixture(params=[attending, convolving], ids=["layernorm and fused attention", "batchnorm"])
def problem(request):
    network, x, y = request.param()
    return (lambda: cross_entropy(network(x), y)), list(network.parameters()), (network, x, y)


@pytest.fixture
def matrix(problem):
    network = problem[2][0]
    return matrix_once(attending if isinstance(network, Attending) else convolving)


@cache
def matrix_once(build):
    network, x, y = build()
    return matrix_of(lambda: cross_entropy(network(x), y), list(network.parameters()))


def test_a_product_is_the_matrix_times_the_vector(problem, matrix):
    loss, parameters, _ = problem
    product = HessianProduct(loss, parameters)
    vectors = torch.randn(3, product.size, generator=seeded(), dtype=torch.float64)
    assert (matrix - matrix.T).abs().max() < 1e-12
    torch.testing.assert_close(product(vectors), vectors @ matrix, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(product(vectors[0]), matrix @ vectors[0], rtol=1e-9, atol=1e-12)
    assert product.count == 4


def test_differences_of_gradients_agree(problem):
    loss, parameters, _ = problem
    before = [p.detach().clone() for p in parameters]
    exact = HessianProduct(loss, parameters)
    vectors = torch.randn(2, exact.size, generator=seeded(), dtype=torch.float64)
    vectors[1, 1:] = 0  # one weight alone
    expected = exact(vectors)
    for method, most in (("finite_difference", 1e-6), ("central_difference", 1e-8)):
        found = HessianProduct(loss, parameters, method=method)(vectors)
        assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < most, method
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


def test_the_difference_follows_weights_that_have_moved(problem):
    loss, parameters, _ = problem
    product = HessianProduct(loss, parameters, method="finite_difference")
    vector = torch.randn(product.size, generator=seeded(), dtype=torch.float64)
    product(vector)
    with torch.no_grad():
        parameters[0].mul_(1.5)
    expected = HessianProduct(loss, parameters)(vector)
    assert (product(vector) - expected).norm() < 1e-6 * expected.norm()


def test_the_trace_is_within_three_standard_errors(problem, matrix):
    loss, parameters, _ = problem
    estimate, error = hessian_trace(loss, parameters, 64, seeded(2))
    assert (estimate - matrix.trace()).abs() < 3 * error
    off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
    assert float(error) == pytest.approx(float(2 * off_diagonal / 64) ** 0.5, rel=0.3)


@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
def test_the_eigenvalues_are_those_of_the_matrix(problem, matrix, which):
    loss, parameters, _ = problem
    values = torch.linalg.eigvalsh(matrix)
    order = {"LA": -values, "SA": values, "LM": -values.abs()}[which].argsort()[:4]
    found = hessian_eigenvalues(loss, parameters, 4, which=which)
    torch.testing.assert_close(found, values[order], rtol=1e-7, atol=1e-9)


def test_parts_of_unequal_size_add_up(problem):
    loss, parameters, (network, x, y) = problem

    def share(rows):
        return lambda: cross_entropy(network(x[rows]), y[rows], reduction="sum") / len(x)

    parts = [share(slice(0, 10)), share(slice(10, 11)), share(slice(11, 24))]
    whole = hessian_trace(loss, parameters, 5, seeded())
    torch.testing.assert_close(hessian_trace(parts, parameters, 5, seeded()), whole)
    kept = HessianProduct(parts, parameters, keep=True)
    torch.testing.assert_close(hessian_trace(kept, parameters, 5, seeded()), whole)
    found = hessian_eigenvalues(parts, parameters, 3)
    torch.testing.assert_close(found, hessian_eigenvalues(loss, parameters, 3))


def test_a_quadratic_exactly():
    loss, parameters, values, matrix = quadratic()
    torch.testing.assert_close(hessian_eigenvalues(loss, parameters, 3), values.flip(0)[:3], rtol=1e-10, atol=0)
    torch.testing.assert_close(hessian_eigenvalues(loss, parameters, 3, which="SA"), values[:3], rtol=1e-10, atol=0)
    largest = torch.cat((values.flip(0)[:3], values[:1])).sort(descending=True).values
    found = hessian_eigenvalues(loss, parameters, 2, which="LM")
    torch.testing.assert_close(found, largest[:2], rtol=1e-10, atol=0)
    both, vectors = hessian_eigenpairs(HessianProduct(loss, parameters), 4, "BE")
    torch.testing.assert_close(both, values[[0, 1, -2, -1]], rtol=1e-10, atol=0)
    torch.testing.assert_close(vectors @ matrix, both[:, None] * vectors, rtol=0, atol=1e-5)
    spectrum = hessian_spectrum(loss, parameters, 150, starts=1)
    torch.testing.assert_close(spectrum.nodes[0], values, rtol=0, atol=1e-9)


def test_the_trace_of_a_diagonal_hessian_has_no_error():
    w = torch.tensor([1.0, 2.0, -5.0], requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    estimate, error = hessian_trace(lambda: (w**3).sum() + w.sum(), [w, unused], 4)
    assert (float(estimate), float(error)) == (-12.0, 0.0)
    found = hessian_eigenvalues(lambda: (w**3).sum(), [w, unused], 5, which="LM")
    assert found.tolist() == [-30.0, 12.0, 6.0, 0.0, 0.0]
    assert hessian_eigenvalues(lambda: (w * 3).sum(), [w], 1).tolist() == [0.0]


def test_a_lanczos_run_that_stops_early_and_copies():
    """Five different eigenvalues, each many times: no ghost copies, weights are the shares."""
    size = 200
    values = torch.tensor([-1.0, 0.0, 0.0, 2.0, 5.0], dtype=torch.float64).repeat(size // 5)
    w = torch.randn(size, generator=seeded(), dtype=torch.float64, requires_grad=True)
    spectrum = hessian_spectrum(lambda: (values * w * w).sum() / 2, [w], 30, starts=3)
    assert spectrum.nodes.shape == (3, 30)
    for value, share in ((-1.0, 0.2), (0.0, 0.4), (2.0, 0.2), (5.0, 0.2)):
        near = (spectrum.nodes - value).abs() < 1e-9
        torch.testing.assert_close((spectrum.weights * near).sum(1), torch.full((3,), share, dtype=torch.float64))
    grid, density = spectrum.density()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-4)
    found = hessian_eigenvalues(lambda: (values * w * w).sum() / 2, [w], 3)
    torch.testing.assert_close(found, torch.full((3,), 5.0, dtype=torch.float64))


def test_the_spectrum_has_the_moments_of_the_matrix(problem, matrix):
    loss, parameters, _ = problem
    spectrum = hessian_spectrum(loss, parameters, 8, starts=32, generator=seeded(3))
    for power in (1, 2):
        samples = (spectrum.weights * spectrum.nodes**power).sum(1) * len(matrix)
        exact = torch.linalg.matrix_power(matrix, power).trace()
        assert (samples.mean() - exact).abs() < 3 * samples.std() / 32**0.5
    top = torch.linalg.eigvalsh(matrix)[-1]
    assert float(spectrum.nodes.max()) == pytest.approx(float(top), rel=1e-3)


def test_known_eigenpairs_lower_the_error_and_leave_the_mean(problem, matrix):
    loss, parameters, _ = problem
    product = HessianProduct(loss, parameters)
    pairs = hessian_eigenpairs(product, 8, "BE")
    products = product.count
    reduced, plain = trace_samples(product, 64, seeded(), pairs)
    assert product.count - products == 64
    assert reduced.std() < 0.75 * plain.std()
    assert (reduced.mean() - matrix.trace()).abs() < 3 * reduced.std() / 64**0.5
    torch.testing.assert_close(plain[:8].mean(), hessian_trace(loss, parameters, 8, seeded())[0])


def test_the_first_vectors_are_the_same_for_more_of_them(problem):
    loss, parameters, _ = problem
    product = HessianProduct(loss, parameters)
    few, many = trace_samples(product, 3, seeded())[0], trace_samples(product, 20, seeded())[0]
    torch.testing.assert_close(many[:3], few)
    assert not torch.allclose(trace_samples(product, 3, seeded(1))[0], few)


def test_nothing_is_left_behind(problem):
    loss, parameters, _ = problem
    before = [(p.detach().clone(), p.requires_grad) for p in parameters]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hessian_trace(loss, parameters, 2)
        HessianProduct(loss, parameters, method="central_difference")(torch.ones(sum(p.numel() for p in parameters)))
        assert not torch.is_grad_enabled()
    assert all(
        p.grad is None and torch.equal(p, b) and p.requires_grad == r
        for p, (b, r) in zip(parameters, before, strict=True)
    )


def test_what_is_not_finite_is_an_error():
    w = torch.tensor([1.0, 0.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="the loss is not finite"):
        hessian_trace(lambda: (w / 0).sum(), [w], 2)
    with pytest.raises(RuntimeError, match="the gradient of the loss is not finite"):
        hessian_trace(lambda: w.sqrt().sum(), [w], 2)
    with pytest.raises(RuntimeError, match="a product with the Hessian is not finite"):
        hessian_eigenvalues(lambda: (w.abs() ** 1.5).sum(), [w], 1)


def test_an_unfinished_run_is_an_error():
    loss, parameters, *_ = quadratic()
    with pytest.raises(RuntimeError, match=r"no eigenvalues: \d of 3 \(LA\) converged"):
        hessian_eigenvalues(loss, parameters, 3, tolerance=1e-12, most=25)


def test_wrong_arguments():
    loss, parameters, *_ = quadratic(4)
    with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
        hessian_trace(loss, parameters, 1)
    with pytest.raises(ValueError, match="k must be 1 to the number of parameters, 4, got 5"):
        hessian_eigenvalues(loss, parameters, 5)
    with pytest.raises(ValueError, match="which must be"):
        hessian_eigenvalues(loss, parameters, 1, which="SM")
    with pytest.raises(ValueError, match="expected vectors of 4 entries"):
        HessianProduct(loss, parameters)(torch.ones(3))
    with pytest.raises(ValueError, match="all of which require gradients"):
        HessianProduct(loss, [torch.ones(2)])
    with pytest.raises(ValueError, match="steps and starts"):
        hessian_spectrum(loss, parameters, 0)


@pytest.mark.parametrize("name", ["trace", "eigenvalues"])
def test_the_examples_are_right(name):
    result = doctest.testmod(import_module(f"kdbias.functional.hessian.{name}"))
    assert (result.attempted > 0, result.failed) == (True, 0)
