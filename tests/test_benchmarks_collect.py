"""The page that `make bench` writes: tables of what benchmarks print, kept where one does not run or fails."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("collect", Path(__file__).parents[1] / "benchmarks" / "collect.py")
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)
HERE = {"python": "3.11", "torch": "2", "torchvision": "0", "lightning": "2", "timm": "1", "git": None, "dirty": None}
HERE |= {"cpu": "a CPU", "cores": 2, "threads": 2, "gpu": None}


def line(value):
    seconds = {"one": [value, value - 1, value + 1], "two": [0.5, 0.5, 0.5], "pair": [1, 2]}
    return {"benchmark": "startup", "seconds": seconds, "lost": None, "environment": HERE}


def test_a_table_has_medians_with_what_lies_behind_them():
    assert list(collect.rows([line(4.0), line(6.0), line(7.0)])) == [
        "| seconds: one | 6 (3 to 8) |",
        "| seconds: two | 0.5 |",
        "| seconds: pair: 0 | 1 |",
        "| seconds: pair: 1 | 2 |",
        "| lost | - |",
    ]
    assert next(collect.rows([line(4.0)])) == "| seconds: one | 4 (3 to 5) |"


def test_what_does_not_run_or_fails_keeps_its_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(collect, "LINES", tmp_path / "lines.json")
    monkeypatch.setattr(collect, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    startup, spin = (tmp_path / "benchmarks" / f"{name}.py" for name in ("startup", "spin"))
    startup.write_text(f"print('told first')\nprint({json.dumps(line(4.0))!r})")
    spin.write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys, "argv", ["collect.py", "--only", "startup", "--note", "Beside other work"])
    collect.main()
    page = (tmp_path / "page.md").read_text()
    assert "## startup" in page
    assert "| seconds: one | 4 (3 to 5) |" in page
    assert "a CPU, 2 cores, 2 threads, GPU: none;" in page
    assert "installed.\nBeside other work.\n" in page

    startup.write_text("raise SystemExit('broken')")
    monkeypatch.setattr(sys, "argv", ["collect.py", "--only", "startup", "spin"])
    with pytest.raises(SystemExit, match="no line: spin, startup"):
        collect.main()
    assert (tmp_path / "page.md").read_text() == page


def test_lines_of_benchmarks_that_ran_by_themselves_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(collect, "LINES", tmp_path / "lines.json")
    kept = {"spin": {"command": "python benchmarks/spin.py --quick", "date": "2026-01-01", "lines": [line(2.0)]}}
    (tmp_path / "lines.json").write_text(json.dumps(kept))
    folder = tmp_path / "ran"
    folder.mkdir()
    monkeypatch.setattr(sys, "argv", ["collect.py", "--take", str(folder)])
    with pytest.raises(SystemExit, match=r"has no NAME.json"):
        collect.main()
    for name in ("startup", "spin beside load"):
        (folder / f"{name}.json").write_text(json.dumps(line(4.0)) + "\n")
    with pytest.raises(SystemExit, match=r"spin beside load.txt is not there"):
        collect.main()
    for name in ("startup", "spin beside load"):
        (folder / f"{name}.txt").write_text(f"python benchmarks/{name.split()[0]}.py --long\n")
    collect.main()
    page = (tmp_path / "page.md").read_text()
    heads = [row for row in page.splitlines() if row.startswith("## ")]
    assert heads == ["## startup", "## spin", "## spin beside load"]
    assert "`python benchmarks/startup.py --long`, " in page
    assert json.loads((tmp_path / "lines.json").read_text())["spin"] == kept["spin"]


def test_every_collected_benchmark_is_there():
    for name in collect.QUICK:
        assert (collect.ROOT / "benchmarks" / f"{name}.py").is_file()
