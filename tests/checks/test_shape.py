"""Whatever stands in a config, the check answers with problems that name keys, and never with a traceback."""

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from config_base import BASE, config
from omegaconf import OmegaConf

from kdbias.checks.check import check
from kdbias.config import conf


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


HISTORY = {"_target_": "kdbias.callbacks.history.History", "folder": "here", "every": 5}
FULL: dict[str, Any] = {
    **BASE,
    "seed": 0,
    "aim": None,
    "objective": "val/accuracy",
    "module": {"_target_": "kdbias.modules.distill.Distill"},
    "loader": {"_target_": "kdbias.data.workers.Workers", "num_workers": 0, "prefetch_factor": 2},
    "callback": {"history": HISTORY},
    "logger": {"csv": {"_target_": "kdbias.modules.loggers.csv"}},
    "control": {"_target_": "kdbias.controls.random.Random", "seed": None, "images": 10},
    "trainer": {**BASE["trainer"], "precision": "auto", "limit_train_batches": None, "accumulate": 1, "val_every": 1},
}
GROUPS = [
    "data",
    "augment",
    "model",
    "optim",
    "trainer",
    "teacher",
    "loss",
    "loader",
    "module",
    "control",
    "callback",
    "logger",
    "teacher.model",
    "optim.optimizer",
    "optim.schedule",
    "callback.history",
]


@pytest.mark.parametrize("key", ["teacher", "teacher.name", "teacher.model", "data", "model", "augment", "loader"])
@pytest.mark.parametrize("value", [3, [1]])
def test_what_stands_in_the_place_of_a_group_is_the_only_problem(key: str, value: Any) -> None:
    """Nothing follows from it, such as a term that misses the teacher that was meant."""
    cfg = OmegaConf.create({**FULL, "control": None, "callback": {}})
    probe = {"_target_": "kdbias.probes.agreement.AgreementProbe"}
    callback = {"_target_": "kdbias.callbacks.probe.ProbeCallback", "name": "x", "probe": probe}
    OmegaConf.update(cfg, "callback.probe_x", callback, force_add=True)
    assert check(cfg) == []
    OmegaConf.update(cfg, key, value, merge=False)
    problems = check(cfg)
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{key}: must be ")


@pytest.mark.parametrize("key", GROUPS)
@pytest.mark.parametrize("value", [5, "x", [1]])
def test_what_stands_in_the_place_of_a_group_is_named(key: str, value: Any) -> None:
    cfg = OmegaConf.create(FULL)
    OmegaConf.update(cfg, key, value, merge=False)
    first = f"{key}: must be a group of settings, got {value!r}"
    assert [problem for problem in check(cfg) if problem.startswith(first)]


@pytest.mark.parametrize("key", ["data", "augment", "model", "optim", "trainer", "optim.optimizer"])
def test_a_group_that_a_run_cannot_do_without_is_named(key: str) -> None:
    assert f"{key}: is missing: choose one ({key}=NAME)" in check(config({key: None}))
    assert f"{key}: is missing: choose one ({key}=NAME)" in check(config(drop=key))


@pytest.mark.parametrize("key", ["data", "model", "trainer", "optim.optimizer", "teacher.model"])
def test_settings_without_a_builder_are_named(key: str) -> None:
    assert any(problem.startswith(f"{key}._target_: is missing") for problem in check(config(drop=f"{key}._target_")))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("callback.x", "kdbias.losses.ce.CE"),
        ("callback.x", "kdbias.modules.optim.adamw"),
        ("loss.x", "kdbias.callbacks.averaging.EMA"),
        ("model", "kdbias.losses.ce.CE"),
        ("teacher.model", "kdbias.data.cues.cues"),
        ("module", "kdbias.losses.ce.CE"),
        ("control", "kdbias.losses.ce.CE"),
    ],
)
def test_a_builder_of_another_kind_is_named(key: str, name: str) -> None:
    problems = [
        problem for problem in check(config({key: {"_target_": name}})) if problem.startswith(f"{key}._target_")
    ]
    assert len(problems) == 1
    assert name in problems[0]


VALUES: dict[str, list[Any]] = {
    "epochs": [-3, 0, "x", [1], 1.5, True, float("nan")],
    "seed": ["x", -1, 2**40, [0], None],
    "batch_size": ["x", -5, [5], float("inf"), True],
    "trainer.devices": ["abc", 0, -3, [], [-1], 1.5, True, "1,x"],
    "trainer.num_nodes": [0, "two", [1]],
    "trainer.strategy": ["foo", 3, ["ddp"]],
    "trainer.accelerator": ["abacus", 1, ["cpu"]],
    "trainer.precision": ["bf17", "bf16-true", 32, ["auto"]],
    "trainer.val_every": [float("nan"), float("inf"), "x"],
    "trainer.limit_train_batches": [float("nan"), -0.5, 1.5, "x", [2]],
    "trainer.limit_test_batches": [0, "x"],
    "aim": ["abc", 2, -1, float("nan"), [0.5]],
    "optim.clip": [float("nan"), "x", [1]],
    "teacher.name": [[1], 3],
    "objective": [["val/accuracy"], {"x": "val/loss"}, 3],
    "trainer.timeout": [0, 3, "x", float("nan"), None],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in VALUES.items() for value in values])
def test_a_value_of_no_use_is_named(key: str, value: Any) -> None:
    assert any(problem.startswith(f"{key}: ") for problem in check(config({key: value})))


@pytest.mark.parametrize("devices", [1, 2, -1, "auto", "-1", "2", "0,1", "2,", [0], [0, 3]])
def test_devices_may_be_named_in_all_ways_of_the_trainer(devices: Any) -> None:
    assert not [problem for problem in check(config({"trainer.devices": devices})) if problem.startswith("trainer")]


CALLBACKS: dict[str, dict[str, Any]] = {
    "best": {"_target_": "kdbias.callbacks.checkpoint.best", "folder": "here"},
    "early": {"_target_": "kdbias.callbacks.checkpoint.early_stopping"},
}


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize(
    ("setting", "value"), [("mode", -1), ("mode", None), ("monitor", ["a"]), ("monitor", {"a": 1})]
)
def test_a_metric_or_mode_of_no_use_is_named(name: str, setting: str, value: Any) -> None:
    cfg = config({"callback": {name: {**CALLBACKS[name], setting: value}}})
    assert any(problem.startswith(f"callback.{name}.{setting}: ") for problem in check(cfg))


def test_a_probe_callback_without_a_probe_is_named() -> None:
    node = {"_target_": "kdbias.callbacks.probe.ProbeCallback", "name": "x", "folder": "here", "probe": {"images": 3}}
    assert any(
        problem.startswith("callback.x.probe._target_: ") for problem in check(config({"callback": {"x": node}}))
    )


def test_a_size_that_is_no_number_makes_nothing_raise() -> None:
    loader = {"_target_": "kdbias.data.resident.Resident"}
    check(config({"data.size": {"x": 32}, "loader": loader}))


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_folder_of_checkpoints_that_is_no_path_is_named(name: str) -> None:
    node = {"_target_": f"kdbias.callbacks.checkpoint.{name}", "folder": False}
    problems = check(config({"callback": {name: node}}))
    assert any(problem.startswith(f"callback.{name}.folder: ") for problem in problems)


def test_an_interpolation_in_a_list_that_does_not_resolve_is_named() -> None:
    problems = check(config({"optim.schedule.warmup": ["${..warmup}", "${no.such}"]}))
    assert [problem.split(": ")[0] for problem in problems][:2] == [f"optim.schedule.warmup[{i}]" for i in range(2)]


STRANGE = [
    None, 5, -3, 0, 1.5, 10**30, float("nan"), float("inf"), True, "x", "", "???", "${no.such}", [], [1], ["a", None],
    {}, {"a": 1}, {"_target_": 5}, {"_target_": "kdbias.losses.ce.CE"}, {"_target_": "kdbias.no.Such"},
]  # fmt: skip


def _places(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _mutated(draw: random.Random) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The full config with one place dropped, replaced by something strange, or wrapped."""
    tree = copy.deepcopy(FULL)
    place = draw.choice(list(_places(tree)))
    node = tree
    for key in place[:-1]:
        node = node[key]
    how, value = draw.choice(["drop", "replace", "replace", "replace", "nest"]), copy.deepcopy(draw.choice(STRANGE))
    if how == "drop":
        del node[place[-1]]
    else:
        node[place[-1]] = value if how == "replace" else draw.choice([[node[place[-1]]], {"x": node[place[-1]]}])
    return tree, (place, how, value)


def test_no_config_makes_the_check_raise() -> None:
    draw = random.Random(0)
    found = 0
    for _ in range(200):
        tree, change = _mutated(draw)
        try:
            problems = check(OmegaConf.create(tree))
        except Exception as error:
            raise AssertionError(f"{change} makes the check raise") from error
        found += bool(problems)
        assert all(re.match(r"[\w.\[\]]+\b.*\w", problem) for problem in problems), (change, problems)
    assert found > 100
