"""The pair of small networks that tests of losses work on."""

from collections.abc import Callable
from functools import partial

import pytest
from small_pair import Pair, make_pair


@pytest.fixture
def pair(tiny_info) -> Callable[..., Pair]:
    """Give ``make_pair`` of the tiny data set."""
    return partial(make_pair, tiny_info)
