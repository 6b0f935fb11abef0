"""The table of ranges: of builders that exist, with their own choices, read by them and by the check of a config."""

import doctest
from inspect import signature
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from config_base import composed
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry
from omegaconf import OmegaConf

from kdbias.checks.check import check
from kdbias.checks.early import ACCELERATORS, STRATEGIES
from kdbias.checks.early_arguments import OBJECTIVES, SUMS_TERMS, argument_problems
from kdbias.config import kinds, ranges
from kdbias.config.build import ROOMS, target
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ArgumentError
from kdbias.config.kinds import FLAG, above, ascending, one_of, whole, within
from kdbias.config.ranges import RANGES, TOGETHER
from kdbias.losses.base import LossTerm
from kdbias.losses.kl import KL
from kdbias.losses.teaching import READS
from kdbias.modules.base import StudentModule

BAD = object()  # of no kind at all
YAMLS = [
    path for group in (*ROOMS, "ssl", "method", "optim", "teacher") for path in Path(conf_dir(), group).rglob("*.yaml")
]


def parameters(name: str):
    """Give the parameters of a builder, with resolved annotations."""
    made = target({"_target_": name})
    found = made.__init__ if isinstance(made, type) else made
    hints = get_type_hints(getattr(found, "__wrapped__", found), include_extras=True)
    return {key: (one, hints.get(key)) for key, one in signature(made).parameters.items()}


def literals(hint) -> tuple:
    """Give the choices of ``Literal[...]``, alone or beside None and bool."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(one for part in get_args(hint) for one in literals(part)) if get_origin(hint) is not None else ()


@pytest.mark.parametrize("name", RANGES)
def test_a_builder_refuses_what_its_kinds_refuse(name):
    known = parameters(name)
    for key, kind in RANGES[name].items():
        assert key in known, key
        default = known[key][0].default
        assert default is known[key][0].empty or not kind.refusal(default), key
        for choice in literals(known[key][1]):
            assert not kind.refusal(choice), (key, choice)
        with pytest.raises(ArgumentError) as error:
            target({"_target_": name})(**{key: BAD})
        assert error.value.argument == key
        assert error.value.text == kind.refusal(BAD)


def test_choices_are_those_of_the_annotations():
    for name, known in RANGES.items():
        found = parameters(name)
        for key, kind in known.items():
            strange = [f"{choice}x" for choice in literals(found[key][1]) if isinstance(choice, str)]
            assert all(kind.refusal(one) for one in strange), (name, key)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_builder_refuses_what_does_not_go_together(name):
    rule = TOGETHER[name]
    given = dict.fromkeys(rule.arguments, 0)
    if name.endswith("cues"):
        given = {"val": 20, "train": 20}
    with pytest.raises(ArgumentError, match=rule.rule):
        target({"_target_": name})(**given)


def test_every_yaml_lies_within_the_ranges():
    assert len(YAMLS) > 80
    for path in YAMLS:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        found = [problem for problem in argument_problems(tree) if "${" not in problem.text]
        assert not found, (path, found)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (whole(1), [1, np.int64(3)], [0, 1.0, True, "1", None]),
        (whole(0, 30), [0, 30], [-1, 31]),
        (above(0), [1e-9, 3], [0, -1, float("inf"), float("nan"), True, "x"]),
        (within(0, 1, "[)"), [0, 0.5], [1, -0.1, "x", float("nan")]),
        (within(0, 1, "(]"), [1, 0.5], [0, 1.1]),
        (one_of("a", "b"), ["a"], ["c", None, ["a"]]),
        (FLAG, [True, False], [1, 0, "true", None]),
        (whole(1).or_null("all"), [None, 1], [0, False]),
        (whole(1).each("sides"), [[1, 2], (3,)], [[], [0], 1, "12"]),
        (above(0).or_each("numbers"), [1, [1, 2]], [0, [1, 0], "x"]),
        (ascending(0, 1), [[0.2, 1.0]], [[1, 0.5], [0, 1], [0.5, 2], [0.5], "ab"]),
    ],
)
def test_kinds(kind, good, bad):
    assert not [value for value in good if kind.refusal(value)]
    assert not [value for value in bad if not kind.refusal(value)]


def test_names_of_lightning_and_of_the_classes():
    assert set(ACCELERATORS) == {"auto", "gpu", *AcceleratorRegistry.available_accelerators()}
    assert set(STRATEGIES) == {"auto", *StrategyRegistry.available_strategies()}
    modules = [f"{kind.__module__}.{kind.__qualname__}" for kind in subclasses(StudentModule) if kind.sums_terms]
    assert tuple(name for name in modules if name.startswith("kdbias.")) == SUMS_TERMS
    loaded = {str(path.stem): target(node) for path in Path(conf_dir(), "loss").glob("*.yaml") for node in nodes(path)}
    named = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in loaded.values()}
    reads = {name: tuple(sorted(kind.needs - {"hard_target"})) for name, kind in named.items()}
    assert {name: needs for name, needs in reads.items() if needs and not name.endswith("C2VKD")} == READS
    assert all(issubclass(kind, LossTerm) for kind in loaded.values())


def test_the_full_check_says_the_same_once():
    cfg = composed(["experiment=exp1_kl", "data=cues", "loss.kl.temperature=0", "augment.crop=-1", "objective=val/acc"])
    cfg.callback.ema.decay = 2
    found = check(cfg)
    for line in (
        "loss.kl.temperature: must be above 0, got 0",
        "augment.crop: must be a whole number of at least 0, got -1: 0 switches it off",
        "callback.ema.decay: must lie in (0, 1), got 2",
    ):
        assert found.count(line) == 1, found
    assert sum(line.startswith("objective: ") for line in found) == 1
    assert len(found) == 4, found


def test_positional_arguments_are_checked_and_examples_hold():
    with pytest.raises(ArgumentError, match="temperature: must be above 0"):
        KL(1.0, 0)
    assert KL(1.0, np.float64(2)).temperature == 2
    assert doctest.testmod(kinds).failed == 0
    assert doctest.testmod(ranges).failed == 0
    assert "val/knn" in OBJECTIVES


def nodes(path: Path):
    """Give the nodes of a yaml that name a builder."""
    tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return [node for node in tree.values() if isinstance(node, dict) and "_target_" in node]


def subclasses(kind: type) -> list[type]:
    """Give all subclasses of a class."""
    return [one for direct in kind.__subclasses__() for one in (direct, *subclasses(direct))]
