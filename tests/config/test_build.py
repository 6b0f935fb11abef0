"""A name in a file leads to a builder of its group, or nowhere: nothing else is imported, nothing is called."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kdbias.batch import DataInfo
from kdbias.config import build as module
from kdbias.config.build import ROOMS, allow, build, builder, selected, target, written
from kdbias.config.conf import conf_dir

MODEL = {"_target_": "kdbias.models.deit.deit_tiny"}
ELSEWHERE = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "kdbias.runs.process.run",  # a function of this package that starts programs
    "kdbias.models.checkpoint.torch.load",  # a module that one of ours imports
    "kdbias.models.checkpoint.Path",  # a class that one of ours imports
    "kdbias.models.deit.partial",
    "kdbias.models.deit.deit_tiny.__globals__",
    "kdbias.models.deit.deit_tiny.__call__",
    "kdbias.models.weights.load_state",  # ours, of the right room, and no builder
    "kdbias.models.checkpoint.load_student",
    "kdbias.cli.train",
    "kdbias.config.build.allow",
    "kdbias.__init__.import_module",
    "kdbias.losses.kl.KL",  # a builder, of another group
    "kdbias.models..deit.deit_tiny",
    "kdbias.models.../evil.x",
    "kdbias.models",
    "kdbias.models.",
    "kdbias.modelsevil.x.y",
    ".kdbias.models.deit.deit_tiny",
    "kdbias/models/deit.deit_tiny",
    "",
    None,
    7,
    ["kdbias.models.deit.deit_tiny"],
    {"_target_": "os.system"},
]


@pytest.mark.parametrize("name", ELSEWHERE, ids=str)
def test_a_name_that_is_no_builder_of_the_group_is_refused(name):
    with pytest.raises((ValueError, ImportError)):
        build({"_target_": name, "command": ["touch", "ran"]}, group="model")
    if name != "kdbias.losses.kl.KL":
        with pytest.raises((ValueError, ImportError)):
            target({"_target_": name})


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if isinstance(name, str)])
def test_a_nested_name_is_refused_before_anything_is_called(name, monkeypatch):
    called = []

    @builder("model")
    def tried(**_):
        called.append(1)

    tried.__module__ = "kdbias.models.deit"
    monkeypatch.setattr("kdbias.models.deit.tried", tried, raising=False)
    tree = {"_target_": "kdbias.models.deit.tried", "a": [{"b": {"c": [{"_target_": name}]}}]}
    if name != "kdbias.losses.kl.KL":
        with pytest.raises((ValueError, ImportError)):
            build(tree, group="model")
    assert called == []
    build({"_target_": "kdbias.models.deit.tried"}, group="model")
    assert called == [1]


def test_depth_is_no_trap():
    node: dict = {}
    for _ in range(100_000):
        node = {"a": node}
    with pytest.raises((TypeError, ValueError)):
        build({**MODEL, "x": node}, DataInfo(3, 32, 10, (), 10, (0.5,) * 3, (0.25,) * 3), group="model")


def test_every_name_in_the_configs_is_a_builder_of_a_group():
    names = set()

    def walk(node):
        if isinstance(node, dict):
            names.update(value for key, value in node.items() if key == "_target_")
            for value in node.values():
                walk(value)

    for path in Path(conf_dir()).rglob("*.yaml"):
        walk({key: value for key, value in (yaml.safe_load(path.read_text()) or {}).items() if key != "hydra"})
    assert len(names) > 80
    for name in sorted(names):
        assert target({"_target_": name}).__builds__ in ROOMS


def test_a_subclass_is_no_builder_by_its_parents_mark():
    assert "__builds__" not in vars(type("Mine", (target({"_target_": "kdbias.losses.kl.KL"}),), {}))


def test_a_package_of_the_users_own_joins_by_allow_alone(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "losses.py").write_text(
        "import os\nimport kdbias\n\n@kdbias.builder('loss')\nclass Mine:\n    pass\n\ndef plain():\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "_allowed", [])
    with pytest.raises(ValueError, match=r"allow=\[PACKAGE\] adds one of your own"):
        target({"_target_": "mine.losses.Mine"}, "loss")
    assert "mine.losses" not in sys.modules  # not even imported
    allow("mine.losses")
    assert type(build({"_target_": "mine.losses.Mine"}, group="loss")).__name__ == "Mine"
    for name in ("mine.losses.plain", "mine.losses.os.system", "mine.losses.kdbias"):
        with pytest.raises((ValueError, ImportError)):
            target({"_target_": name}, "loss")
    with pytest.raises(ValueError, match="builds a loss"):
        target({"_target_": "mine.losses.Mine"}, "model")
    with pytest.raises(ValueError, match="allow: must name packages"):
        allow("../x")


def test_marks_know_their_groups():
    with pytest.raises(ValueError, match="group: must be one of"):
        builder("los")
    assert list(selected({"a": MODEL, "b": 3, "c": {}})) == [("a", MODEL)]


def test_naming_a_builder_costs_no_torch():
    code = "import sys; import kdbias.config.build; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_node_that_holds_itself_is_walked_once():
    cycle: list = []
    cycle.extend([cycle, cycle])
    wide: list = [1]
    for _ in range(40):
        wide = [wide] * 10
    for knot in (cycle, wide):
        with pytest.raises((TypeError, ValueError)):
            build({**MODEL, "unknown": knot}, DataInfo(3, 32, 10, (), 10, (0.5,) * 3, (0.25,) * 3), group="model")


def test_the_source_alone_says_whether_a_figure_is_one():
    nodes = [yaml.safe_load(path.read_text()) for path in Path(conf_dir(), "callback").glob("probe_*.yaml")]
    figures = [each["figure"] for node in nodes for each in node.values() if each.get("figure")]
    assert len(figures) > 10
    for figure in figures:
        assert written(figure, "figure")
        assert target({"_target_": figure}, "figure")


@pytest.mark.parametrize(
    "name",
    [
        "kdbias.report.cka.no",
        "kdbias.report.no.training",
        "kdbias.report.no.no.training",
        "kdbias.report.attention.figures",
        "kdbias.report.attention.",
        "kdbias.models.deit.vit",
        "kdbias.report",
        "os.path.join",
        "training",
        "",
        3,
        None,
    ],
)
def test_a_source_that_does_not_define_a_figure_says_no(name):
    assert not written(name, "figure")


def test_a_figure_is_written_in_no_other_group():
    assert not written("kdbias.report.cka.training", "model")
