"""What the key of a kept Result stands for."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdbias.analysis import measure
from kdbias.checks.check import ConfigError
from kdbias.functional.hessian.product import CurvatureError
from kdbias.probes import cache
from kdbias.probes.cache import CODE

ROOT = Path(cache.__file__).parents[1]
NOTHING = {
    "__init__.py",
    "config/__init__.py",
    "config/build.py",
    "files.py",
}  # measure nothing: build finds what a config names, files writes what was found


def imports(path: Path) -> Iterator[Path]:
    """The files of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kdbias":
            place = ROOT.joinpath(*node.module.split(".")[1:])
            for found in (place, *(place / alias.name for alias in node.names)):
                yield from (each for each in (found.with_suffix(".py"), found / "__init__.py") if each.is_file())


def test_all_code_that_probes_use_is_in_the_key():
    used, left = set(), set((ROOT / "probes").glob("*.py"))
    while left:
        used |= left
        left = {found for path in left for found in imports(path)} - used
    names = {path.relative_to(ROOT).as_posix() for path in used}
    assert "models/layout.py" in names
    assert {name for name in names if name not in CODE and name.partition("/")[0] not in CODE} <= NOTHING


def test_a_failed_hessian_names_the_probe_and_the_network():
    def probe(network, batches):
        raise CurvatureError("no eigenvalues: allow a larger tolerance")

    subject = SimpleNamespace(name="exp/run")
    work = SimpleNamespace(_network=lambda: None, probes={"hessian": probe}, cfg=None, subject=subject)
    with pytest.raises(ConfigError, match=r"probe\.hessian: on exp/run: no eigenvalues: allow a larger tolerance"):
        measure.Work.run(work, ["hessian"], None)
