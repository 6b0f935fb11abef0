"""Energy maps: official numbers, grids of other sizes, scale, features that are 0."""

import pytest
import torch

from kdbias.functional.attention_transfer import attention_transfer, energy_map

GRIDS = [((8, 8), (8, 8)), ((8, 8), (4, 4)), ((4, 4), (8, 8)), ((7, 7), (4, 4))]  # student, teacher
OFFICIAL = [
    *(0.009191292702265845, 0.020726541219040828, 0.029895437533994637, 0.06760569404070126),
    *(0.02967755644948017, 0.06565591789581536, 0.040391989900004796, 0.07701750193496308),
]


def drawn(draw, channels, grid):
    return torch.randn(3, channels, *grid, generator=draw, dtype=torch.float64)


def test_official_numbers():
    """From ``single_stage_at_loss`` of mdistiller/distillers/AT.py, megvii-research/mdistiller, in fp64; p 2 and 4."""
    draw, found = torch.Generator().manual_seed(1), []
    for ours, theirs in GRIDS:
        student, teacher = drawn(draw, 4, ours), 2 * drawn(draw, 6, theirs)
        found += [attention_transfer(student, teacher, power).item() for power in (2, 4)]
    assert found == pytest.approx(OFFICIAL, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-15, 1e10])
def test_the_scale_of_features_does_not_matter(scale):
    maps = drawn(torch.Generator().manual_seed(0), 4, (5, 6)).float()
    torch.testing.assert_close(energy_map(scale * maps), energy_map(maps))


def test_gradient():
    draw = torch.Generator().manual_seed(0)
    student, teacher = drawn(draw, 2, (3, 4)).requires_grad_(), drawn(draw, 3, (2, 2))
    assert torch.autograd.gradcheck(lambda x: attention_transfer(x, teacher, 3.0), student)


def test_features_that_are_0_have_no_gradient():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = attention_transfer(student, torch.ones(2, 3, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(1 / 16)
    assert (student.grad == 0).all()


def test_where_the_energy_lies_decides():
    """The largest value, 2 / places, is that of maps that share no place."""
    left, right = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    left[..., 0], right[..., 1] = 1, 1
    assert attention_transfer(left, right).item() == pytest.approx(2 / 4)
    assert attention_transfer(left, -left).item() == 0


def test_each_axis_has_the_coarser_grid():
    draw = torch.Generator().manual_seed(0)
    tall, wide = drawn(draw, 3, (8, 2)), drawn(draw, 5, (4, 6))
    both = (maps.unflatten(2, (4, -1)).mean(3).unflatten(3, (2, -1)).mean(4) for maps in (tall, wide))
    torch.testing.assert_close(attention_transfer(tall, wide), attention_transfer(*both))


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="of the same images"):
        attention_transfer(torch.ones(2, 3, 4, 4), torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize("power", [0.5, float("nan")])
def test_a_power_without_finite_gradient_at_0_is_refused(power):
    with pytest.raises(ValueError, match=f"power must be 1 or more, got {power}: below"):
        attention_transfer(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4), power)


def test_it_is_fp32_under_autocast():
    draw = torch.Generator().manual_seed(0)
    two = [drawn(draw, 4, (4, 4)).bfloat16() for _ in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention_transfer(*two)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(attention_transfer(*(x.double() for x in two)).item(), rel=1e-5)
