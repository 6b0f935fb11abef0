"""Relations and Gram matrices of unit vectors: definitions in loops, invariances, vectors that are 0."""

import math

import pytest
import torch

from kdbias.functional import gram_distance, relation_kl
from kdbias.functional.unit import cosine_gram, unit


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def relation_in_loops(student, teacher, tau, diagonal) -> float:
    student, teacher, total = student.tolist(), teacher.tolist(), 0.0
    for i in range(len(student)):
        others = [j for j in range(len(student)) if diagonal or j != i]
        s, t = ([math.exp(cosine(x[i], x[j]) / tau) for j in others] for x in (student, teacher))
        p, q = [v / sum(t) for v in t], [v / sum(s) for v in s]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_relation_against_loops(diagonal, tau):
    s, t = gaussian(0, 3, 7, 4), gaussian(1, 3, 7, 6)
    expected = [relation_in_loops(a, b, tau, diagonal) for a, b in zip(s, t, strict=True)]
    assert relation_kl(s, t, tau, diagonal).tolist() == pytest.approx(expected, rel=1e-9)


def test_relation_is_blind_to_rotation_and_length_but_not_to_shift():
    s, t = gaussian(2, 8, 5), gaussian(3, 8, 6)
    rotation = torch.linalg.qr(gaussian(4, 5, 5)).Q
    moved = (s @ rotation) * torch.linspace(0.5, 9.0, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(relation_kl(moved, t), relation_kl(s, t), rtol=1e-9, atol=0)
    assert relation_kl(moved, s).item() == pytest.approx(0.0, abs=1e-12)
    assert relation_kl(s + 3.0, s).item() > 0.1


def test_with_its_diagonal_the_relation_of_unlike_samples_nearly_vanishes():
    """At tau = .1 the self-similarity takes nearly all of each row, so that two unrelated networks look alike."""
    s, t = gaussian(5, 32, 256), gaussian(6, 32, 256)
    assert cosine_gram(t).div(0.1).softmax(-1).diagonal().mean() > 0.99
    assert relation_kl(s, t, 0.1) > 20 * relation_kl(s, t, 0.1, diagonal=True)


def test_gram_against_loops_and_as_published():
    s, t = gaussian(7, 2, 6, 3), gaussian(8, 2, 6, 5)
    for k in range(2):
        a, b = s[k].tolist(), t[k].tolist()
        squares = [(cosine(a[i], a[j]) - cosine(b[i], b[j])) ** 2 for i in range(6) for j in range(6)]
        assert gram_distance(s, t)[k].item() == pytest.approx(sum(squares) / 36, rel=1e-9)
        assert gram_distance(s, t, frobenius=True)[k].item() == pytest.approx(math.sqrt(sum(squares)) / 36, rel=1e-9)


def test_gram_is_blind_to_rotation_and_length():
    s, t = gaussian(9, 8, 5), gaussian(10, 8, 6)
    moved = s @ torch.linalg.qr(gaussian(11, 5, 5)).Q * torch.linspace(0.5, 9.0, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(gram_distance(moved, t), gram_distance(s, t), rtol=1e-9, atol=0)
    assert gram_distance(moved, s).item() == pytest.approx(0.0, abs=1e-20)


def test_unit_vectors_and_those_that_are_zero():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]], requires_grad=True)
    assert unit(x).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0], [0.0, 0.0]]
    unit(x)[:, 0].sum().backward()
    assert x.grad[0].tolist() == pytest.approx([0.128, -0.096])  # (1 - .36) / 5, -.48 / 5
    assert x.grad[1:].eq(0).all()
    assert unit(torch.tensor([[float("nan"), 1.0]])).isnan().all()


@pytest.mark.parametrize("loss", [relation_kl, gram_distance, lambda s, t: gram_distance(s, t, frobenius=True)])
@pytest.mark.parametrize("case", ["zeros", "equal", "itself"])
def test_never_nan(loss, case):
    s, t = gaussian(12, 4, 5, 3).float(), gaussian(13, 4, 5, 3).float()
    s = {"zeros": torch.zeros_like(s), "equal": s[:, :1].expand_as(s).clone(), "itself": t.clone()}[case]
    value = loss(s.requires_grad_(), t).sum()
    value.backward()
    assert value.isfinite()
    assert s.grad.isfinite().all()
    if case == "zeros":
        assert s.grad.eq(0).all()


@pytest.mark.parametrize("loss", [relation_kl, gram_distance])
def test_wrong_shapes(loss):
    with pytest.raises(ValueError, match=r"of the same n, got \(2, 5, 3\) and \(2, 4, 3\)"):
        loss(torch.zeros(2, 5, 3), torch.zeros(2, 4, 3))


def test_too_few_samples_and_no_temperature():
    with pytest.raises(ValueError, match="relations need at least 3 samples, got 2"):
        relation_kl(torch.ones(2, 4), torch.ones(2, 4))
    assert relation_kl(torch.eye(2), torch.ones(2, 2), diagonal=True) > 0
    with pytest.raises(ValueError, match="temperature must be > 0"):
        relation_kl(torch.ones(4, 4), torch.ones(4, 4), temperature=0.0)
