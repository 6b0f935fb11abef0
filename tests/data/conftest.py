"""Fixtures of the tests of data."""

import pytest
from folders import fill


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path, ("train", "test"))
