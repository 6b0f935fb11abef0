"""Contrastive distillation: the official code's numbers, scores by loops, closed forms of the loss, digits in fp32."""

import math

import pytest
import torch

from kdbias.functional import crd_loss, crd_scores

N, TAU = 7, 0.25
INDICES = torch.tensor([[1, 0, 2, 3, 5, 6], [4, 0, 1, 2, 3, 6], [0, 1, 3, 4, 4, 2]])


def wave(*shape: int, step: float = 0.7) -> torch.Tensor:
    return torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=1, keepdim=True)


@pytest.fixture
def student():
    """The student's embeddings of three images and the teacher's bank of seven."""
    return unit(wave(3, 4)), unit(wave(N, 4, step=2.1))


@pytest.fixture
def teacher():
    """The teacher's embeddings and the student's bank."""
    return unit(wave(3, 4, step=1.3)), unit(wave(N, 4, step=0.9))


OFFICIAL = {
    "student": {
        "z": 9.075835290364454,
        "loss": 3.433015309175309,
        "gradient": [
            [-0.8464246705012445, 0.8698959539413404, -0.03190249700768126, -0.837684251258668],
            [-0.6320657123502155, 1.4969605453477401, -0.8794036877667536, -0.6090334930681527],
            [0.3648153821163745, -1.4133338722440396, 1.0622168176864994, 0.3408218269450688],
        ],
    },
    "teacher": {
        "z": 43.83954242865112,
        "loss": 6.217275162107891,
        "gradient": [
            [0.7743767034760607, 1.5801628796533909, 1.190113291491591, -0.10059030892822246],
            [-0.9996086593502554, -0.19480051891266054, 0.757428770589438, 1.1364510670194405],
            [-0.5819129341894355, -1.2892546109922596, -1.0209141014739778, 0.020033846543633445],
        ],
    },
}


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_official_numbers(side, request):
    """From ``ContrastMemory`` and ``ContrastLoss`` of crd/, HobbitLong/RepDistiller, in fp64; Z is a constant."""
    anchor, bank = request.getfixturevalue(side)
    anchor.requires_grad_()
    scores = crd_scores(anchor, bank, INDICES, TAU)
    z = N * scores.detach().mean()
    loss = crd_loss(scores / z, N)
    loss.backward()
    expected = OFFICIAL[side]
    assert z.item() == pytest.approx(expected["z"], rel=1e-12)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-12)
    torch.testing.assert_close(
        anchor.grad, torch.tensor(expected["gradient"], dtype=torch.float64), rtol=1e-11, atol=1e-14
    )


def test_scores_by_loops(student):
    anchor, bank = (x.tolist() for x in student)
    expected = [
        math.exp(sum(a * b for a, b in zip(anchor[i], bank[j], strict=True)) / TAU)
        for i, chosen in enumerate(INDICES.tolist())
        for j in chosen
    ]
    assert crd_scores(*student, INDICES, TAU).flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_an_entry_drawn_twice_counts_twice_in_the_gradient(student):
    anchor, bank = student
    anchor.requires_grad_()
    scores = crd_scores(anchor, bank, INDICES, TAU)
    weights = wave(3, 6, step=0.4)
    (gradient,) = torch.autograd.grad((weights * scores).sum(), anchor)
    vectors = bank[INDICES]  # (B, 1 + K, d)
    expected = (weights * scores.detach() / TAU)[:, :, None] * vectors
    torch.testing.assert_close(gradient, expected.sum(1), rtol=1e-12, atol=1e-14)


def test_no_gradient_reaches_the_bank(student):
    anchor, bank = student
    bank.requires_grad_()
    anchor.requires_grad_()
    crd_scores(anchor, bank, INDICES, TAU).sum().backward()
    assert bank.grad is None
    assert anchor.grad.abs().sum() > 0


def test_gradient_of_the_loss_is_that_of_the_formula(student):
    anchor, bank = student
    assert torch.autograd.gradcheck(
        lambda x: crd_loss(crd_scores(x, bank, INDICES, TAU) / 50, N), anchor.requires_grad_()
    )


@pytest.mark.parametrize("count", [1, 5, 16_384])
def test_scores_at_chance(count):
    """All are 1/n: -log(1 / (1 + K)) for the positive and -K log(K / (1 + K)) for the negatives, whatever n."""
    scores = torch.full((2, 1 + count), 1 / 50_000, dtype=torch.float64)
    chance = math.log1p(count) + count * math.log1p(1 / count)
    assert crd_loss(scores, 50_000).item() == pytest.approx(chance, rel=0.006)  # eps is .005 of 1/n
    exact = math.log1p((count / 50_000 + 1e-7) * 50_000) + count * math.log1p((1 / 50_000 + 1e-7) * 50_000 / count)
    assert crd_loss(scores, 50_000).item() == pytest.approx(exact, rel=1e-12)


def test_a_certain_choice_costs_only_eps():
    scores = torch.zeros(4, 11, dtype=torch.float64)
    scores[:, 0] = 1e12
    assert crd_loss(scores, 100).item() == pytest.approx(10 * math.log1p(1e-7 / 0.1), rel=1e-5)


def test_the_positive_pulls_and_the_negatives_push(student):
    scores = (crd_scores(*student, INDICES, TAU) / 50).requires_grad_()
    crd_loss(scores, N).backward()
    assert (scores.grad[:, 0] < 0).all()
    assert (scores.grad[:, 1:] > 0).all()


def test_fp32_keeps_the_digits_of_many_small_negatives():
    """K ratios next to 1: a logarithm of each rounded ratio, as in the official code, loses the fifth digit."""
    generator = torch.Generator().manual_seed(0)
    n, count = 1_000_000, 16_384
    exact = torch.rand(8, 1 + count, generator=generator, dtype=torch.float32).double() / n
    rounded, noise = exact.float(), count / n
    assert crd_loss(rounded, n).item() == pytest.approx(crd_loss(exact, n).item(), rel=1e-6)
    ratios = noise / (rounded[:, 1:] + (noise + 1e-7))
    naive = -((rounded[:, 0] / (rounded[:, 0] + (noise + 1e-7))).log().sum() + ratios.log().sum()) / 8
    assert naive.item() != pytest.approx(crd_loss(exact, n).item(), rel=1e-6)


def test_order_and_rotation_do_not_count(student):
    anchor, bank = student
    loss = crd_loss(crd_scores(anchor, bank, INDICES, TAU) / 50, N)
    swapped = INDICES[:, [0, 5, 4, 3, 2, 1]][[2, 0, 1]]
    torch.testing.assert_close(crd_loss(crd_scores(anchor[[2, 0, 1]], bank, swapped, TAU) / 50, N), loss)
    rotation = torch.linalg.qr(wave(4, 4, step=0.31) + torch.eye(4)).Q
    torch.testing.assert_close(crd_loss(crd_scores(anchor @ rotation, bank @ rotation, INDICES, TAU) / 50, N), loss)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(crd_loss(crd_scores(anchor, bank[order], order.argsort()[INDICES], TAU) / 50, N), loss)


def test_autocast_does_not_count(student):
    anchor, bank = (x.float() for x in student)
    outside = crd_scores(anchor, bank, INDICES, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = crd_scores(anchor, bank, INDICES, 0.07)
        loss = crd_loss(inside / 50, N)
        assert crd_scores(anchor.bfloat16(), bank, INDICES, TAU).dtype == torch.float32
        assert crd_loss(inside.bfloat16(), N).dtype == torch.float32
    assert inside.dtype == loss.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert torch.equal(loss, crd_loss(outside / 50, N))
    torch.testing.assert_close(outside.double(), crd_scores(*student, INDICES, 0.07), rtol=1e-5, atol=0.0)


def test_fp64_stays(student):
    scores = crd_scores(student[0], student[1].float(), INDICES, TAU)
    assert scores.dtype == crd_loss(scores, N).dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": torch.ones(3, 5)}, r"one width, got \(3, 5\) and \(7, 4\)"),
        ({"anchor": torch.ones(3, 4, 1)}, r"got \(3, 4, 1\) and \(7, 4\)"),
        ({"indices": INDICES[:2]}, r"expected indices \(3, 1 \+ K\) int64 with K >= 1, got \(2, 6\)"),
        ({"indices": INDICES[:, :1]}, r"got \(3, 1\) torch.int64"),
        ({"indices": INDICES.int()}, r"got \(3, 6\) torch.int32"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"temperature": 0.01}, r"overflows in torch.float32: temperature must be >= 0.0113"),
    ],
)
def test_bad_scores_are_errors(student, change, message):
    arguments = {"anchor": student[0].float(), "bank": student[1].float(), "indices": INDICES, "temperature": TAU}
    with pytest.raises(ValueError, match=message):
        crd_scores(**(arguments | change))


def test_the_least_temperature_holds_the_score_of_equal_vectors():
    bank = torch.eye(2)
    assert crd_scores(bank, bank, torch.tensor([[0, 1], [1, 0]]), 0.0113).isfinite().all()
    assert crd_scores(bank.double(), bank, torch.tensor([[0, 1], [1, 0]]), 0.01)[0, 0] == pytest.approx(math.exp(100))


def test_bad_losses_are_errors():
    with pytest.raises(ValueError, match=r"expected scores \(B, 1 \+ K\) with K >= 1, got \(3, 1\)"):
        crd_loss(torch.ones(3, 1), N)
    with pytest.raises(ValueError, match=r"got \(0, 4\)"):
        crd_loss(torch.ones(0, 4), N)
    with pytest.raises(ValueError, match="entries of the bank, >= 1, got 0"):
        crd_loss(torch.ones(3, 4), 0)
