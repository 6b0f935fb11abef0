"""Which group of a page another one is compared with: the one of the same recipe and network without a teacher."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbias.config.build import class_named, target

RECIPE = (
    *("data.", "epochs", "batch_size", "augment.", "optim.", "trainer.accumulate", "trainer.limit_"),
    *("init", "loader.repeats", "callback.ema.", "callback.swa.", "callback.early_stopping."),
)
"""How the settings begin that a control shares: what the network is trained and measured on, and how."""
SAID = ("objective", "trainer.precision")
"""Settings in which a control may differ, which a sentence says."""
UNSET = {"loader.repeats": 1}
"""What settings are worth that configs of before them leave out."""
OF_TEACHER = ("augment.view", "augment.teacher_")  # what a teacher is shown
PLAIN = "none"  # the kind of a control that learns from the labels alone
READ = "model.layers"  # which layers are read, for terms and probes
NAMED = 4  # settings that a sentence names


@dataclass(frozen=True)
class Candidate:
    """A group: ``settings`` are those of its config but for the seed, ``{"a.b": value}``; ``seeds`` are of its runs."""

    label: str
    settings: Mapping[str, Any]
    taught: bool
    seeds: frozenset[int]


def control_of(group: Candidate, groups: Sequence[Candidate]) -> tuple[str | None, str]:
    """Give the control of a group, None without one, and a sentence on what differs; empty if nothing does.

    A control has no teacher and the same recipe (``RECIPE``); of a method that makes its views itself, the augmentation
    may differ. Of several it is one with a seed in common, since differences are paired by seed, and the same network,
    else network builder, else family of builders: a method may add a token to its student. Of these it is the one whose
    network differs in the fewest settings; of two alike it is none.
    """
    if group.taught:
        untaught = [one for one in groups if not one.taught]
        fair = [one for one in untaught if not recipe_differences(group, one)]
        paired = [one for one in fair if one.seeds & group.seeds] or fair
        for same in _by_network(group, paired):
            nearest = _least(same, lambda one: differences(group, one, "model."))
            return (nearest[0].label, _kept(group, nearest[0])) if len(nearest) == 1 else (None, "")
        for same in _by_network(group, [one for one in untaught if recipe_differences(group, one)]):
            other = _least(same, lambda one: recipe_differences(group, one))[0]
            told = told_apart(recipe_differences(group, other))
            return None, f"{group.label} has no control: {other.label} has another recipe, {told}."
    return None, ""


def unlike_recipe(group: Candidate, control: Candidate) -> str:
    """Say in which settings a control that was named has another recipe; empty if it has the same."""
    unlike = recipe_differences(group, control)
    return f"{group.label} and its control {control.label} have unlike recipes: {told_apart(unlike)}." if unlike else ""


def differences(group: Candidate, other: Candidate, *begin: str) -> dict[str, tuple[Any, Any]]:
    """Give the settings that begin so and differ, ``{"a.b": (that of group, that of other)}``.

    A setting that one of them leaves out, as configs of before it do, has the default of its builder; else None.
    """
    ours, theirs = (UNSET | _completed(one.settings, begin) for one in (group, other))
    names = sorted(ours.keys() | theirs.keys())
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


def recipe_differences(group: Candidate, other: Candidate) -> dict[str, tuple[Any, Any]]:
    """Give the settings of the recipe in which another group is no control of this one, as ``differences`` does."""
    unlike = _recipe(group, other)
    return {name: values for name, values in unlike.items() if not (_augments(name) and _makes_views(group))}


def had_teacher(teacher: str, kind: str | None) -> str:
    """Say of a run that was named as a control that it had a teacher, under which control if any.

    >>> had_teacher("resnet20", "shuffled")
    'had a teacher itself (resnet20, under control=shuffled)'
    """
    return f"had a teacher itself ({teacher}{f', under control={kind}' if kind else ''})"


def told_apart(unlike: Mapping[str, tuple[Any, Any]]) -> str:
    """Write settings that differ, the other's value first.

    >>> told_apart({"epochs": (200, 10), "optim.clip": (1, None)})
    'epochs 10 for 200, optim.clip null for 1'
    """
    each = [f"{name} {_word(theirs)} for {_word(ours)}" for name, (ours, theirs) in unlike.items()]
    more = f" and {len(each) - NAMED} more" if len(each) > NAMED else ""
    return f"{', '.join(each[:NAMED])}{more}"


def _recipe(group: Candidate, other: Candidate) -> dict[str, tuple[Any, Any]]:
    found = differences(group, other, *RECIPE)
    return {name: values for name, values in found.items() if not name.startswith(OF_TEACHER)}


def _kept(group: Candidate, control: Candidate) -> str:
    """What differs between a group and the control that it has."""
    unlike = _recipe(group, control) | differences(group, control, "model.", *SAID)
    unlike.pop(READ, None)
    views = " (its method makes its views itself)" if any(map(_augments, unlike)) else ""
    return f"{group.label} and its control {control.label} differ: {told_apart(unlike)}{views}." if unlike else ""


def _augments(name: str) -> bool:
    return name.startswith("augment.")


def _makes_views(group: Candidate) -> bool:
    """Whether the method mirrors and crops the images itself, which its augmentation must not."""
    method = class_named({"_target_": group.settings.get("module._target_")}, "module", object)
    return bool(getattr(method, "makes_views", False))


def _by_network(group: Candidate, others: Sequence[Candidate]) -> list[list[Candidate]]:
    """Those of the same network, of the same builder, of the same family of builders; without empty lists."""
    kinds: tuple[Callable[[Candidate], Any], ...] = (_network, _builder, _family)
    found = [[one for one in others if kind(one) == kind(group)] for kind in kinds]
    return [one for one in found if one]


def _network(one: Candidate) -> dict[str, Any]:
    return {name: value for name, value in one.settings.items() if name.startswith("model.")}


def _builder(one: Candidate) -> str:
    return str(one.settings.get("model._target_"))


def _family(one: Candidate) -> str:
    return _builder(one).rpartition(".")[0]


def _least(found: Sequence[Candidate], unlike: Callable[[Candidate], Mapping[str, Any]]) -> list[Candidate]:
    """Those that differ in the fewest settings."""
    counts = [len(unlike(one)) for one in found]
    return [one for one, count in zip(found, counts, strict=True) if count == min(counts)]


def _completed(settings: Mapping[str, Any], begin: tuple[str, ...]) -> dict[str, Any]:
    """The settings that begin so, with the defaults of their builders."""
    found = {name: value for name, value in settings.items() if name.startswith(begin)}
    for name, value in list(found.items()):
        node, _, key = name.rpartition(".")
        if key == "_target_":
            for parameter, default in _defaults(value).items():
                found.setdefault(f"{node}.{parameter}", default)
    return found


def _defaults(name: Any) -> dict[str, Any]:
    """The defaults of a builder; none if it cannot be loaded here."""
    try:
        parameters = inspect.signature(target({"_target_": name})).parameters.values()
    except (ImportError, ValueError):
        return {}
    known = {one.name: one.default for one in parameters if one.default is not one.empty}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in known.items()}


def _word(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
