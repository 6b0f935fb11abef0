"""``check(cfg)`` reports every mistake in a config at once, each with its key and remedy, before any training."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbias.checks.consistency import meaning
from kdbias.checks.early import consequences
from kdbias.checks.early_arguments import NO_TERM
from kdbias.checks.resolved import resolved
from kdbias.checks.shape import shaped
from kdbias.config.build import TargetError, target, written
from kdbias.config.errors import ConfigError as ConfigError
from kdbias.config.errors import Problem
from kdbias.config.renamed import RENAMED
from kdbias.modules.choice import module_class

MULTI = ("loss", "callback", "logger", "probe")

# The arguments that the program passes to a builder in addition to those of the config: the number of positional ones,
# and the keywords. The first pattern that fits the builder's key applies.
GIVEN: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("model", 1, ()),
    ("teacher.model", 1, ()),
    ("optim.optimizer", 1, ()),
    ("optim.schedule", 2, ()),
    ("module", 2, ()),
    ("trainer", 0, ("run", "epochs", "callbacks", "loggers")),
    ("logger.*", 0, ("run",)),
    ("callback.*.probe", 0, ("source", "data", "teacher", "stressed")),
    ("*", 0, ()),
)


# The group of builders that each place in the config names. No builder may stand anywhere else.
GROUPS: tuple[tuple[str, str], ...] = (
    ("model", "model"),
    ("teacher.model", "model"),
    ("data", "data"),
    ("augment", "augment"),
    ("augment.*_stress", "stress"),
    ("augment.*_stress.parts*", "stress"),
    ("loader", "loader"),
    ("loss.*", "loss"),
    ("optim.optimizer", "optimizer"),
    ("optim.schedule", "schedule"),
    ("module.views", "views"),
    ("module.collapse", "collapse"),
    ("module", "module"),
    ("trainer", "trainer"),
    ("logger.*", "logger"),
    ("callback.*.figure", "figure"),
    ("callback.*.probe", "probe"),
    ("callback.*", "callback"),
    ("control", "control"),
)


def require_valid(cfg: DictConfig) -> None:
    """Pass a config that can run.

    Raises:
        ConfigError: the config has problems; the message lists all of them.
    """
    problems = check(cfg)
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"the config has {len(problems)} problems:", *problems]))


def check(cfg: DictConfig) -> list[str]:
    """Give all problems of a composed config of ``train.py``, each as ``key: what is wrong and what to do``.

    It describes networks without weights and downloads nothing. The only files that it looks for are named weights
    files and, for data=image_folder, the names of the images.
    """
    problems: list[Problem] = []
    tree = shaped(resolved(cfg, problems), problems)
    problems += _groups(tree)
    problems += _unused_share(cfg)
    problems += _targets(tree, "")
    problems += meaning(tree, problems)
    return [str(problem) for problem in dict.fromkeys(consequences(tree, problems))]


def _groups(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Find entries of multi-select groups that have settings but are not selected."""
    for group in MULTI:
        entries = tree.get(group) or {}
        chosen = [name for name, entry in entries.items() if isinstance(entry, Mapping) and "_target_" in entry]
        if group == "loss" and not chosen and module_class(tree).sums_terms:
            yield Problem(group, NO_TERM)
        for name, entry in entries.items():
            if isinstance(entry, Mapping) and "_target_" not in entry and "kind" not in entry:  # with kind: a schedule
                settings = ", ".join(entry)
                select = f"select it ({group}=[{','.join([*chosen, name])}])"
                remedy = f"{select} or drop the settings ('~{group}.{name}' if a yaml has them)"
                yield Problem(f"{group}.{name}", f"has settings ({settings}) but is not selected: {remedy}")


def _unused_share(cfg: DictConfig) -> Iterator[Problem]:
    """Find a ``loss.alpha`` of 1 that takes all weight from cross-entropy, though no selected term has it as weight."""
    node = cfg.get("loss")
    loss = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
    loss = loss if isinstance(loss, Mapping) else {}
    terms = {str(name): term for name, term in loss.items() if isinstance(term, Mapping) and "_target_" in term}
    readers = [name for name, term in terms.items() if "loss.alpha" in str(term)]
    if readers == ["ce"] and loss.get("alpha") == 1:
        lost = f"cross-entropy has the weight 1 - loss.alpha = 0, and no term of loss=[{','.join(terms)}] has the rest"
        yield Problem("loss.alpha", f"{lost}: drop it ('~loss.alpha'), or set loss.ce.weight")


def _targets(node: Any, path: str) -> Iterator[Problem]:
    """Check every builder's name and arguments, and the names of figures."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield from _target(node, path)
        for key, value in node.items():
            if key != "_target_":
                yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _targets(item, f"{path}[{i}]")
    elif isinstance(node, str) and _group(path) == "figure" and not written(node, "figure"):
        yield from _resolve(node, path, "figure")[1]


def _group(path: str) -> str | None:
    """Name the group of builders that a place in the config names; None if nothing is built there."""
    fits = (group for pattern, group in GROUPS if pattern.count(".") == path.count(".") and fnmatchcase(path, pattern))
    return next(fits, None)


def _resolve(name: Any, path: str, group: str) -> tuple[Any, list[Problem]]:
    try:
        return target({"_target_": name}, group), []
    except ImportError as error:
        return None, [Problem(path, f"{name!r} does not resolve ({error}): correct the name")]
    except TargetError as error:
        return None, [Problem(path, f"{error.text}: correct the name")]
    except ValueError as error:  # of a module of somebody's own, as it is imported
        return None, [Problem(path, f"{name!r} cannot be imported ({error}): correct its module")]


def _target(spec: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Check a node against the signature of its builder."""
    group = _group(path)
    if group is None:
        yield Problem(f"{path}._target_", "nothing is built at this place: drop it")
        return
    builder, problems = _resolve(spec["_target_"], f"{path}._target_", group)
    yield from problems
    if problems:
        return
    _, positional, keywords = next(given for given in GIVEN if fnmatchcase(path, given[0]))
    parameters = list(inspect.signature(builder).parameters.values())
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    passed = {p.name for p in parameters[:positional]} | set(keywords)
    takes = [p.name for p in named if p.name not in passed]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in spec:
        if key in passed:
            yield Problem(f"{path}.{key}", "is set by the program itself: drop it here")
        elif key in RENAMED and RENAMED[key] in takes:
            yield Problem(f"{path}.{key}", f"is called {RENAMED[key]} now: rename it")
        elif key != "_target_" and key not in takes and not anything:
            near = get_close_matches(key, takes, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(takes) or "no arguments"
            yield Problem(f"{path}.{key}", f"{spec['_target_']} takes no {key!r}: {meant}it takes {known}")
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name in takes and parameter.name not in spec:
            key = f"{path}.{parameter.name}"
            yield Problem(key, f"{spec['_target_']} needs it: set {key}=VALUE")
