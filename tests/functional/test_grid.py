"""Resampling of tokens: against interpolation written out and torch's, and what it must leave alone."""

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import pool_maps, resample_tokens


def plane(h: int, w: int) -> torch.Tensor:
    """Tokens whose two features are their own row and column, in the unit of the grid's side."""
    rows, columns = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack([rows, columns], dim=-1).view(1, h * w, 2)


def test_equal_grids_give_the_same_tensor():
    tokens = torch.randn(2, 12, 5)
    assert resample_tokens(tokens, (3, 4), (3, 4)) is tokens


def test_enlarging_is_bilinear():
    """From 2 to 4 places the new centres lie 1/4 and 3/4 between the old ones, and hold at the border."""
    line = resample_tokens(torch.tensor([0.0, 8.0]).view(1, 2, 1), (1, 2), (1, 4))
    assert line.flatten().tolist() == [0.0, 2.0, 6.0, 8.0]


def test_shrinking_to_a_half_weighs_by_a_triangle():
    """Weights 1, 3, 3, 1 of eight at distances .75, .25, .25, .75 of the new step; 3, 3, 1 of seven at a border."""
    line = resample_tokens(torch.tensor([0.0, 8, 0, 0, 0, 0, 0, 0]).view(1, 8, 1), (8, 1), (4, 1))
    torch.testing.assert_close(line.flatten(), torch.tensor([24 / 7, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize(("grid", "to"), [((16, 16), (8, 8)), ((4, 4), (8, 8)), ((7, 5), (4, 6)), ((8, 8), (7, 7))])
def test_it_is_interpolation_of_maps(grid, to):
    maps = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps, size=to, mode="bilinear", antialias=True, align_corners=False)
    found = resample_tokens(maps.flatten(2).mT, grid, to)
    torch.testing.assert_close(found, expected.flatten(2).mT, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("to", [(1, 1), (4, 1), (1, 4)])
def test_grids_of_one_row_or_column(to):
    """Linear in rows and in columns apart: a product of both is resampled as the product of the two."""
    row, column = torch.tensor([1.0, 5.0, 2.0, 8.0, 3.0, 1.0, 0.0, 4.0]), torch.arange(8.0).square()
    found = resample_tokens(torch.outer(row, column).view(1, 64, 1), (8, 8), to).view(to)
    rows = resample_tokens(row.view(1, 8, 1), (1, 8), (1, to[0])).flatten()
    columns = resample_tokens(column.view(1, 8, 1), (8, 1), (to[1], 1)).flatten()
    torch.testing.assert_close(found, torch.outer(rows, columns))


@pytest.mark.parametrize(("grid", "to"), [((16, 16), (8, 8)), ((4, 4), (8, 8)), ((7, 5), (4, 6))])
def test_places_stay_where_they_are(grid, to):
    """Away from the border a token's own coordinates resample to the coordinates of the new place, row-major."""
    found, expected = (t.view(*to, 2)[1:-1, 1:-1] for t in (resample_tokens(plane(*grid), grid, to), plane(*to)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_constants_stay_and_every_token_has_weight():
    tokens = torch.full((1, 30, 2), 3.0, requires_grad=True)
    small = resample_tokens(tokens, (5, 6), (2, 3))
    torch.testing.assert_close(small, torch.full((1, 6, 2), 3.0))
    small.sum().backward()
    assert tokens.grad.gt(0).all()


@pytest.mark.parametrize("shape", [(2, 11, 3), (12, 3)])
def test_tokens_that_do_not_fill_the_grid(shape):
    with pytest.raises(ValueError, match=r"tokens \(B, 12, D\) of the grid \(3, 4\)"):
        resample_tokens(torch.zeros(shape), (3, 4), (6, 8))


@pytest.mark.parametrize(("grid", "to"), [((14, 14), (7, 7)), ((8, 8), (3, 5)), ((5, 7), (5, 4)), ((4, 4), (1, 1))])
def test_pooling_is_torchs_adaptive_average_with_its_gradient(grid, to):
    maps = torch.randn(2, 3, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found, expected = pool_maps(maps, to), F.adaptive_avg_pool2d(maps, to)
    torch.testing.assert_close(found, expected)
    weight = torch.arange(expected.numel(), dtype=torch.float64).view_as(expected)
    gradients = [torch.autograd.grad((x * weight).sum(), maps)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_pooling_to_an_equal_grid_gives_the_same_tensor():
    maps = torch.randn(2, 3, 4, 5)
    assert pool_maps(maps, (4, 5)) is maps


def test_pooling_does_not_enlarge():
    with pytest.raises(ValueError, match=r"of at least 5x4 places, got \(2, 3, 4, 4\)"):
        pool_maps(torch.zeros(2, 3, 4, 4), (5, 4))
    with pytest.raises(ValueError, match=r"expected maps \(B, C, h, w\)"):
        pool_maps(torch.zeros(3, 4, 4), (2, 2))
