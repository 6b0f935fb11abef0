"""The notebooks run as they are, one after the other in one process, and are stored with what they show."""

import ast
import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes
LINK = re.compile(r"\]\(([^)\s]+)\)")


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def executed(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell as a notebook does; give what it prints and the value of its last line, None without one."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        exec(compile(tree, "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), value


def shown(value: Any) -> dict[str, Any]:
    """What a notebook stores of a value, by type of media; images as bytes."""
    kinds = {"image/png": "_repr_png_", "text/html": "_repr_html_", "text/plain": "__repr__"}
    found = {kind: getattr(value, name)() for kind, name in kinds.items() if hasattr(value, name)}
    return {} if value is None else found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_is_stored_with(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBIAS_RUNS", raising=False)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(path):
        printed, value = executed("".join(cell["source"]), names)
        stored = {kind for one in cell["outputs"] for kind in one.get("data", {"stream": ""})}
        assert {*shown(value), *(["stream"] if printed else [])} == stored, cell["source"]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["01_quickstart", "02_locality_curse", "03_bias_transfer"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_says_nothing_of_the_machine_that_ran_it(path):
    text = path.read_text()
    notebook = json.loads(text)
    assert len(text.encode()) <= LARGEST
    assert re.findall(r"/(?:tmp|home|root|work|Users)/", text) == []
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}] * len(notebook["cells"])
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    assert any("image/png" in one.get("data", {}) for cell in cells(path) for one in cell["outputs"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_logic_of_its_own_and_links_that_lead_somewhere(path):
    for cell in cells(path):
        tree = ast.parse("".join(cell["source"]))
        kinds = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]
    links = [link for cell in cells(path, "markdown") for link in LINK.findall("".join(cell["source"]))]
    assert links
    assert [link for link in links if "://" not in link and not (path.parent / link.split("#")[0]).exists()] == []
