"""Fixtures of the tests of controls."""

import copy

import pytest
from teaching import small

from kdbias.config.spec import plain
from kdbias.train import build_data


@pytest.fixture
def cfg():
    return copy.deepcopy(small())


@pytest.fixture
def data(cfg):
    return build_data(plain(cfg))
