"""Wilson's interval is SciPy's, bit for bit."""

import pytest
import scipy

from kdbias.stats.wilson import wilson


@pytest.mark.parametrize("n", [1, 2, 7, 500, 10_000])
def test_the_ends_are_those_of_scipy(n):
    for count in {0, 1, n // 3, n // 2, n - 1, n}:
        assert wilson(count, n) == tuple(scipy.stats.binomtest(count, n).proportion_ci(0.95, method="wilson"))
