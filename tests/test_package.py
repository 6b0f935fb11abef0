"""``import kdbias``: light, and its public names are there."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import kdbias
import kdbias.functional
import kdbias.stats


def test_a_notebook_completes_the_public_names():
    assert set(kdbias.__all__) <= set(dir(kdbias))


def test_the_version_is_that_of_the_package():
    assert kdbias.__version__ == version("kdbias")


def test_public_names_come_when_asked_for_and_no_torch_before():
    code = (
        "import sys, kdbias\n"
        "print('torch' in sys.modules)\n"
        "print(kdbias.functional.soft_kl.__name__, kdbias.stats.retention.__name__)\n"
        "print(all(hasattr(kdbias, name) for name in kdbias.__all__), hasattr(kdbias, 'nothing'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "soft_kl", "retention", "True", "False"]


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Folders of tests are no packages, so that pytest would take two files of one name for one module."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("room", [kdbias.functional, kdbias.stats])
def test_no_public_function_hides_a_module_of_its_name(room) -> None:
    modules = {path.stem for path in Path(room.__path__[0]).iterdir()}
    assert modules & set(room.__all__) == set()
