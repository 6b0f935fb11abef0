import math

import pytest
import torch

from kdbias.functional.collapse import effective_rank, entropy_ratios, feature_std


def cross(directions: int, width: int) -> torch.Tensor:
    """Images evenly in ``directions`` directions, centred."""
    eye = torch.eye(width, dtype=torch.float64)[:directions]
    return torch.cat([eye, -eye])


@pytest.mark.parametrize("directions", [1, 2, 7])
def test_the_rank_of_equal_directions_is_their_number(directions):
    x = cross(directions, 9)
    turned = x @ torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    for features in (x, x + 5, turned * 3):
        assert effective_rank(features).item() == pytest.approx(directions, rel=1e-9)


def test_unequal_directions_count_by_their_share():
    x = cross(2, 4) * torch.tensor([3.0, 1.0, 1.0, 1.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(x).item() == pytest.approx(math.exp(entropy), rel=1e-9)


def test_a_single_point_has_no_rank_and_no_spread():
    x = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(16, -1)
    assert effective_rank(x).item() == 0
    assert feature_std(x).item() == pytest.approx(0, abs=1e-6)


def test_an_even_spread_has_a_deviation_of_one():
    assert feature_std(cross(8, 8)).item() == pytest.approx(1.0, rel=1e-9)
    x = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert feature_std(x).item() == pytest.approx(1.0, abs=0.01)
    assert feature_std(7 * x).item() == pytest.approx(feature_std(x).item(), rel=1e-5)


def test_the_two_ways_in_which_targets_say_nothing():
    uniform = torch.full((2, 3, 8), 1 / 8)
    assert [value.item() for value in entropy_ratios(uniform)] == pytest.approx([1, 1])
    one = torch.nn.functional.one_hot(torch.full((2, 3), 5), 8).float()
    assert [value.item() for value in entropy_ratios(one)] == [0, 0]
    spread = torch.nn.functional.one_hot(torch.arange(8).view(2, 4), 8).float()
    assert [value.item() for value in entropy_ratios(spread)] == pytest.approx([0, 1])
