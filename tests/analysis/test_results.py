"""The folder of an earlier analysis, which somebody may have sent: read as data, and from that folder alone."""

import json
import sys
from pathlib import Path

import pytest

from kdbias.analysis.networks import run_name
from kdbias.analysis.probe import draw
from kdbias.analysis.results import Measured, load, save
from kdbias.checks.check import ConfigError
from kdbias.probes.base import Result

ABOUT = {"seed": 0, "experiment": None, "student": None, "teacher": None, "teacher_key": None}
ABOUT |= {"families": ["vit", None]}
ABOUT |= {"control": None, "source": {}, "split": "test"}


@pytest.fixture
def folder(tmp_path):
    result = Result("accuracy", {"accuracy": 0.5}, {}, {"n": 4})
    result.save(tmp_path / "out" / "a-b")
    result.save(tmp_path / "elsewhere")
    save([Measured("a/b", "a", "network", ABOUT, {"accuracy": result})], tmp_path / "out")
    return tmp_path / "out"


def test_what_was_saved_comes_back(folder):
    (one,) = load(folder)
    assert (one.name, one.label, one.role, one.about) == ("a/b", "a", "network", ABOUT)
    assert one.results["accuracy"].scalars == {"accuracy": 0.5}


def test_what_older_folders_do_not_tell_is_none(folder):
    tree = json.loads((folder / "networks.json").read_text())
    del tree["networks"][0]["about"]["teacher_key"]
    (folder / "networks.json").write_text(json.dumps(tree))
    assert load(folder)[0].about == ABOUT


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "{}", '{"networks": 3}', '{"networks": [3]}', "[" * 100_000])
def test_a_damaged_or_foreign_index_is_named(folder, text):
    (folder / "networks.json").write_text(text)
    with pytest.raises(ConfigError, match=r"from_results: .*networks\.json"):
        load(folder)


CHANGES = [("name", "..", "no folder"), ("name", ".", "no folder"), ("name", "", "no folder"), ("name", 3, "no name")]
CHANGES += [("probes", [f"../{place}/accuracy"], "no name of a file") for place in ("a-b", "../elsewhere")]
CHANGES += [("probes", [name], "no name of a file") for name in ("..", 3)] + [("probes", None, "no probes")]
CHANGES += [("role", "boss", "role"), ("about", [], "no about"), ("label", None, "no label")]


@pytest.mark.parametrize(("key", "value", "reason"), CHANGES)
def test_a_name_that_leads_out_of_the_folder_is_refused(folder, key, value, reason):
    tree = json.loads((folder / "networks.json").read_text())
    tree["networks"][0][key] = value
    (folder / "networks.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=reason):
        load(folder)


@pytest.mark.parametrize("text", ['{"name": "accuracy"}', '{"name": 1, "scalars": [], "meta": 3}', "["])
def test_a_damaged_result_is_named(folder, text):
    (folder / "a-b" / "accuracy.json").write_text(text)
    with pytest.raises(ConfigError, match=r"accuracy\.json cannot be read"):
        load(folder)


@pytest.mark.parametrize("name", ["probe_of_nobody", "page", "style", "sent.figures", "..cka", "", 3, ["cka"]])
def test_the_name_of_a_probe_in_a_file_imports_nothing_but_the_figures_of_a_probe(tmp_path, monkeypatch, name):
    """A package beside the program, or a room of this package that draws something else, is not meant."""
    for module in ("probe_of_nobody", "sent"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported')")
    import kdbias.report

    monkeypatch.setattr(kdbias.report, "__path__", [*kdbias.report.__path__, str(tmp_path)])
    before = set(sys.modules)
    assert draw("x", {"a": [Result("x", {"a": 1.0}, {}, {"n": 1, "probe": name})]}) == {}
    assert not {module for module in set(sys.modules) - before if module.startswith("kdbias.report")}


def test_a_run_has_one_name_however_its_folder_is_typed(tmp_path, monkeypatch):
    (tmp_path / "sweep" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "sweep")
    assert {run_name(folder) for folder in (Path("a"), Path("./a"), tmp_path / "sweep" / "a")} == {"sweep/a"}
