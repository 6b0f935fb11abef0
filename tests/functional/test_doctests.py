"""The examples in the docstrings are right."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "kdbias.functional.attention",
        "kdbias.functional.cka",
        "kdbias.functional.cka_stream",
        "kdbias.functional.grid",
        "kdbias.functional.kl",
        "kdbias.losses.schedule",
        "kdbias.resolvers",
    ],
)
def test_examples(module):
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
