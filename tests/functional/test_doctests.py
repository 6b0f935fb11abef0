"""The examples in the docstrings are right."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import kdbias

ROOT = Path(kdbias.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if ">>>" in path.read_text()]
NAMES = [".".join(("kdbias", *path.relative_to(ROOT).with_suffix("").parts)) for path in FILES]


def test_examples_are_found():
    assert {
        "kdbias.functional.cka.exact",
        "kdbias.functional.logits.kl",
        "kdbias.losses.schedule",
        "kdbias.stats.scores",
    } <= set(NAMES)


@pytest.mark.parametrize("module", NAMES)
def test_examples(module):
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
