"""CAPD's pieces: closed forms, the official code's numbers, where gradients flow, bad input."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import capd_attention, capd_mix, capd_values, groupwise
from kdbias.functional.capd import group_count


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


def heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def official(numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64).view(2, 4, 4)


# Rows of the maps of two images, as the official code gives them in fp64.
OFFICIAL_QK = [
    -3.2265887304439347, 0.5019501919572377, 2.7344157036817784, -3.183103969505108,
    2.8738453662885797, -4.738540095950781, 1.7723957525047567, 3.0006677012232785,
    0.4087211510783271, 4.144290926836098, -4.472288098409276, 0.24088434596063923,
    -3.2746053007425306, 0.6749731486198289, 2.612779520291978, -3.236860015820836,
    -4.786199585892948, 1.7600453262790372, 3.0604370513761125, -4.760870091217356,
    4.131940500610377, -4.4125187482564465, 0.19462963079250226, 4.221680182957301,
    0.734742498772662, 2.5665248051238456, -3.251275616675256, 0.6214213033485566,
    -4.852371422454777, 1.8959856303538498, 2.993316477679896, -4.8309972201138365,
]  # fmt: skip
OFFICIAL_VV = [
    3.363858126841602, -1.943578584981924, -1.458137260014735, 3.3733137264265234,
    -1.943578584981924, 5.239308523286521, -3.1936768147856327, -2.10783928665941,
    -1.458137260014735, -3.1936768147856327, 4.589606496641842, -1.3065316865628491,
    3.3733137264265234, -2.10783928665941, -1.3065316865628491, 3.3889218821833107,
    5.285627703749544, -3.1662927944083425, -2.1810090917660023, 5.304819411769803,
    -3.1662927944083425, 4.516436691535254, -1.2621711294423459, -3.2788505823494005,
    -2.1810090917660023, -1.2621711294423459, 3.418595200951852, -2.089835452657711,
    5.304819411769803, -3.2788505823494005, -2.089835452657711, 5.3279794733231585,
]  # fmt: skip


def test_official_maps():
    """From ``Attention`` of cakd_modified_files/resnet.py, yufanLIU/CrossArch_KD (2 images, 4 tokens, 3 heads)."""
    q, k, v = (heads(x, 3) for x in (wave(2, 4, 6) @ wave(18, 6, step=1.3, scale=0.5).T).chunk(3, dim=-1))
    torch.testing.assert_close(capd_attention(q, k, matched="logits"), official(OFFICIAL_QK), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(capd_values(v), official(OFFICIAL_VV), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("grid", "total", "weighted", "middle", "last"),
    [
        (
            (14, 14),
            307.4401813930508,
            -1.7521721155821783,
            [14.806874375645865, -10.91186270437684],
            [-7.044411074472964, 6.569296384194466],
        ),
        (
            (7, 7),
            362.35192869748585,
            -10.603360238893362,
            [-5.519897090619677, 4.954830096661539],
            [11.370619290324777, -4.020155678355631],
        ),
    ],
)
def test_official_groups(grid, total, weighted, middle, last):
    """From ``GLProj`` of the same file; on 14×14 the groups at two edges are two positions wide."""
    count, positions = group_count(grid, 4), grid[0] * grid[1]
    weight, bias = wave(count, 2, 3, step=1.1), wave(count, 2, step=0.3)
    out = groupwise(wave(2, positions, 3), weight, bias, grid, 4)
    assert out.shape == (2, positions, 2)
    weights = torch.cos(0.37 * torch.arange(out.numel(), dtype=torch.float64)).view_as(out)
    assert out.sum().item() == pytest.approx(total, rel=1e-10)
    assert (out * weights).sum().item() == pytest.approx(weighted, rel=1e-10)
    assert out[1, positions // 2].tolist() == pytest.approx(middle, rel=1e-12)
    assert out[0, -1].tolist() == pytest.approx(last, rel=1e-12)


def test_attention_is_torchs_own_averaged_over_heads():
    q, k = wave(2, 3, 5, 4), wave(2, 3, 5, 4, step=1.7)
    identity = torch.eye(5, dtype=torch.float64).expand(2, 3, 5, 5)
    expected = F.scaled_dot_product_attention(q, k, identity).mean(1)
    attention = capd_attention(q, k)
    torch.testing.assert_close(attention, expected)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    torch.testing.assert_close(
        capd_attention(q[:, :1], k[:, :1], "logits").softmax(-1), capd_attention(q[:, :1], k[:, :1])
    )


def test_attention_in_closed_form():
    """Equal tokens attend to all alike; orthogonal ones of squared length s² by e^(s²/√d)."""
    alike = torch.ones(1, 2, 5, 3)
    torch.testing.assert_close(capd_attention(alike, alike), torch.full((1, 5, 5), 0.2))
    axes = 2.0 * torch.eye(4).view(1, 1, 4, 4)
    own, other = math.exp(4 / 2), 1.0
    expected = torch.full((4, 4), other).fill_diagonal_(own) / (own + 3 * other)
    torch.testing.assert_close(capd_attention(axes, axes)[0], expected)


def test_values_in_closed_form_are_a_gram_matrix_over_the_root_of_the_width():
    axes = 2.0 * torch.eye(4).view(1, 1, 4, 4)
    torch.testing.assert_close(capd_values(axes)[0], 2.0 * torch.eye(4))
    v = wave(2, 3, 5, 4)
    torch.testing.assert_close(capd_values(v), torch.einsum("bhnd,bhmd->bnm", v, v) / (3 * math.sqrt(4)))
    torch.testing.assert_close(capd_values(3 * v), 9 * capd_values(v))
    rotation = torch.linalg.qr(wave(4, 4)).Q
    torch.testing.assert_close(capd_values(v @ rotation), capd_values(v))


def test_networks_with_other_heads_and_widths_give_maps_of_one_shape():
    assert capd_attention(wave(2, 3, 5, 4), wave(2, 3, 5, 4)).shape == (2, 5, 5)
    assert capd_attention(wave(2, 6, 5, 8), wave(2, 6, 5, 8)).shape == (2, 5, 5)
    assert capd_values(wave(2, 6, 5, 8)).shape == (2, 5, 5)


def test_gradients_are_those_of_the_formulas():
    q, k = wave(1, 2, 3, 2, scale=1.0).requires_grad_(), wave(1, 2, 3, 2, step=1.7, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(capd_attention, (q, k))
    assert torch.autograd.gradcheck(capd_values, (q,))
    tokens, weight, bias = wave(2, 6, 3).requires_grad_(), wave(2, 2, 3).requires_grad_(), wave(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: groupwise(*x, grid=(2, 3), group=2), (tokens, weight, bias))


def test_mixing_takes_whole_numbers_of_one_network_or_the_other():
    student, teacher = wave(8, 3, 25, 4).requires_grad_(), (wave(8, 3, 25, 4) + 10).requires_grad_()
    mixed = capd_mix(student, teacher, 0.3, torch.Generator().manual_seed(0))
    from_teacher = mixed == teacher
    assert torch.equal(mixed[~from_teacher], student[~from_teacher])
    # 2,400 draws: a deviation of five standard errors is .047
    assert from_teacher.double().mean().item() == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / 2400))
    mixed.sum().backward()
    assert torch.equal(student.grad, (~from_teacher).double())
    assert teacher.grad is None


def test_mixing_at_its_ends_and_with_a_seed():
    student, teacher = wave(50), wave(50, step=1.7)
    assert torch.equal(capd_mix(student, teacher, 0.0), student)
    assert torch.equal(capd_mix(student, teacher, 1.0), teacher)
    one, again, other = (capd_mix(student, teacher, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("grid", "group"), [((8, 8), 4), ((3, 5), 2), ((5, 3), 4), ((1, 7), 3), ((2, 2), 8), ((4, 6), 1)]
)
def test_each_group_is_a_linear_layer(grid, group):
    columns = math.ceil(grid[1] / group)
    count = math.ceil(grid[0] / group) * columns
    assert group_count(grid, group) == count
    tokens, weight, bias = wave(2, grid[0] * grid[1], 3), wave(count, 4, 3, step=1.1), wave(count, 4, step=0.3)
    out, without = groupwise(tokens, weight, bias, grid, group), groupwise(tokens, weight, None, grid, group)
    for y in range(grid[0]):
        for x in range(grid[1]):
            place, own = y * grid[1] + x, (y // group) * columns + x // group
            torch.testing.assert_close(out[:, place], F.linear(tokens[:, place], weight[own], bias[own]))
            torch.testing.assert_close(without[:, place], F.linear(tokens[:, place], weight[own]))


def test_bf16_autocast_gives_the_fp32_numbers():
    q, k = wave(2, 3, 5, 4).bfloat16(), wave(2, 3, 5, 4, step=1.7).bfloat16()
    tokens, weight, bias = wave(2, 6, 3).bfloat16(), wave(2, 2, 3).float(), wave(2, 2).float()
    calls = [
        lambda cast: capd_attention(cast(q), cast(k)),
        lambda cast: capd_values(cast(q)),
        lambda cast: capd_mix(cast(q), cast(k), generator=torch.Generator().manual_seed(0)),
        lambda cast: groupwise(cast(tokens), weight, bias, (2, 3), 2),
    ]
    for call in calls:
        plain = call(lambda x: x.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = call(lambda x: x)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, plain, rtol=0, atol=0)


def test_bad_input_is_an_error():
    q, tokens, weight = wave(2, 3, 5, 4), wave(2, 6, 3), wave(2, 2, 3)
    with pytest.raises(ValueError, match=r"one shape \(B, H, N, d\), got \(2, 3, 5, 4\) and \(2, 3, 4, 4\)"):
        capd_attention(q, q[:, :, 1:])
    with pytest.raises(ValueError, match="matched must be 'attention' or 'logits', got 'softmax'"):
        capd_attention(q, q, "softmax")
    with pytest.raises(ValueError, match=r"values \(B, H, N, d\), got \(2, 5, 4\)"):
        capd_values(q[:, 0])
    with pytest.raises(ValueError, match=r"got \(2, 3, 5, 4\) and \(2, 1, 5, 4\).*partial=false"):
        capd_mix(q, q[:, :1])
    with pytest.raises(ValueError, match=r"probability must be in 0\.\.1, got 1\.5"):
        capd_mix(q, q, 1.5)
    with pytest.raises(ValueError, match=r"tokens \(B, 4, D\) of the grid \(2, 2\), got \(2, 6, 3\)"):
        groupwise(tokens, weight, None, (2, 2), 2)
    with pytest.raises(ValueError, match=r"weight \(2, E, 3\), got \(1, 2, 3\)"):
        groupwise(tokens, weight[:1], None, (2, 3), 2)
    with pytest.raises(ValueError, match=r"bias \(2, 2\) as weight is, got \(2, 3\)"):
        groupwise(tokens, weight, wave(2, 3), (2, 3), 2)
    with pytest.raises(ValueError, match="group must be >= 1 position wide, got 0"):
        group_count((2, 3), 0)


def test_half_of_the_numbers_are_the_teachers():
    mixed = capd_mix(torch.zeros(20_000), torch.ones(20_000), generator=torch.Generator().manual_seed(0))
    assert mixed.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 20_000))
