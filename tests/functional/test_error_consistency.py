import doctest
from importlib import import_module

import pytest
import torch

from kdbias.functional.consistency import error_consistency


def outcomes(both_right, first_only, second_only, both_wrong):
    first = [True] * (both_right + first_only) + [False] * (second_only + both_wrong)
    second = [True] * both_right + [False] * first_only + [True] * second_only + [False] * both_wrong
    return torch.tensor(first), torch.tensor(second)


@pytest.mark.parametrize(("p", "q"), [(5, 5), (8, 5), (9, 2)])
def test_independent_errors_have_none_and_equal_ones_all(p, q):
    independent = outcomes(p * q, p * (10 - q), (10 - p) * q, (10 - p) * (10 - q))
    assert error_consistency(*independent).item() == pytest.approx(0, abs=1e-14)
    right = independent[0]
    assert error_consistency(right, right).item() == pytest.approx(1, abs=1e-14)


def test_a_value_by_hand_and_symmetry():
    first, second = outcomes(5, 3, 1, 1)  # c_obs = .6, p = .8, q = .6, c_exp = .56
    assert error_consistency(first, second).item() == pytest.approx((0.6 - 0.56) / 0.44, abs=1e-14)
    assert error_consistency(first, second) == error_consistency(second, first)
    assert error_consistency(first, second).dtype == torch.float64


def test_opposite_outcomes_at_half_are_minus_one():
    right = torch.tensor([True, False] * 8)
    assert error_consistency(right, ~right).item() == -1


def test_two_that_never_err_have_no_consistency():
    right = torch.ones(5, dtype=torch.bool)
    assert error_consistency(right, right).isnan()
    assert error_consistency(~right, ~right).isnan()


def test_what_is_refused():
    right = torch.tensor([True, False])
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        error_consistency(right, right[:1])
    with pytest.raises(ValueError, match="bool"):
        error_consistency(right.long(), right.long())
    with pytest.raises(ValueError, match="n >= 1"):
        error_consistency(right[:0], right[:0])


def test_the_example_is_right():
    found = doctest.testmod(import_module("kdbias.functional.consistency"))
    assert (found.failed, found.attempted) == (0, 1)
