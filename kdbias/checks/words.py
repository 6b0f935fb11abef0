"""Mistakes in the words of a command line, found before Hydra composes a config: each is one line with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from kdbias.config.conf import conf_dir
from kdbias.config.errors import Problem
from kdbias.config.overrides import key_of

# Hydra's own options, and those of them that take the next word.
TAKES_WORD = (
    *("--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--cfg", "-c", "--info", "-i", "--experimental-rerun"),
)
FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"),
    *("--shell-completion", "-sc"),
)
ELSEWHERE = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")
SHOWN = 12  # names that a message lists; `--help` lists all


def overrides(arguments: Sequence[str]) -> list[str]:
    """Give the words of a command line that are not options or their values.

    >>> overrides(["-m", "--config-dir", "mine", "seed=0,1"])
    ['seed=0,1']
    """
    found, taken = [], False
    for word in arguments:
        if not taken and not _is_option(word):
            found.append(word)
        taken = not taken and (word in TAKES_WORD or (_is_foreign(word) and "=" not in word))
    return found


def composes_elsewhere(arguments: Sequence[str]) -> bool:
    """Whether a command reads configs from other folders than this package's, which the checks here do not know."""
    options = {word.partition("=")[0] for word in arguments}
    searched = any(word.lstrip("+~").startswith("hydra.searchpath") for word in arguments)
    return searched or bool(options.intersection(ELSEWHERE))


def study_words(words: Sequence[str]) -> Iterator[str]:
    """Give those of the words that set the study or a part of it."""
    return (word for word in words if (key_of(word) or "").split(".")[0] == "study")


def names_study(arguments: Sequence[str]) -> bool:
    """Whether the words of a command name a study."""
    return any(True for _ in study_words(overrides(arguments)))


def sweeps(arguments: Sequence[str]) -> bool:
    """Whether a command is a sweep: ``-m``, or Hydra's mode."""
    mode = any(word.lstrip("+") == "hydra.mode=MULTIRUN" for word in arguments)
    return mode or bool({"-m", "--multirun"}.intersection(arguments))


def word_problems(arguments: Sequence[str], config: str) -> list[Problem]:
    """Give the mistakes in the words of a command whose table of contents is ``conf/<config>.yaml``.

    These are options that Hydra does not have, words without ``=``, values that cannot be read, keys at the root that
    no config has, and names of options that no group has.
    """
    found = list(_foreign_options(arguments))
    parsed, typed = [], overrides(arguments)
    for word in _joined(typed):
        if word not in typed:
            found.append(unreadable(word))
            continue
        if "=" not in word and not word.startswith("~"):
            found.append(bare(word, config))
            continue
        try:
            parsed.append(OverridesParser.create().parse_override(word))
        except HydraException:
            found.append(unreadable(word))
    if not composes_elsewhere(arguments):
        for override in parsed:
            if override.is_sweep_override() and not sweeps(arguments):
                text = "has several values: give -m as well for a sweep, or brackets, KEY=[A,B], for a list"
                found.append(Problem(str(override.input_line), text))
                continue
            found += key_problem(override, config) or option_problems(override)
    return found


def bare(word: str, config: str) -> Problem:
    """Describe a word that sets nothing; a name that is an option of a group most likely stands for it.

    >>> bare("exp1_resnet_kl", "train").text
    'sets nothing: did you mean experiment=exp1_resnet_kl?'
    """
    groups = [group for group in _groups(config) if word in options(group)]
    if groups:
        meant = " or ".join(f"{group}={word}" for group in groups)
        return Problem(word, f"sets nothing: did you mean {meant}?")
    near = {one: group for group in _groups(config) for one in options(group)}
    close = get_close_matches(word, [*near, *known_keys(config)], 1)
    guess = f" did you mean {near[close[0]]}={close[0]}?" if close and close[0] in near else ""
    guess = guess or (f" did you mean {close[0]}=VALUE?" if close else " a setting is KEY=VALUE")
    return Problem(word, f"sets nothing:{guess}")


def unreadable(word: str) -> Problem:
    """Describe an override that Hydra's grammar refuses.

    >>> unreadable("loss=[ce,kl").text
    "cannot be read, a bracket is not closed: give it without blanks, or in quotes, as in 'loss=[ce,kl]'"
    """
    key, _, value = word.partition("=")
    opened = [(a, b) for a, b in ("[]", "{}", "()") if value.count(a) != value.count(b)]
    if " " in word and not opened and value.startswith(("[", "{", "(")):
        return Problem(word, f"cannot be read, the shell split it at blanks: write {word.replace(' ', '')}")
    if opened:
        left, right = opened[0]
        missing = right * (value.count(left) - value.count(right))
        state = "a bracket is not closed" if missing else "a bracket is not opened"
        whole = f"{key}={value.rstrip(',')}{missing}" if missing else f"{key}={left * value.count(right)}{value}"
        return Problem(word, f"cannot be read, {state}: give it without blanks, or in quotes, as in '{whole}'")
    if any(value.count(mark) % 2 for mark in "'\""):
        return Problem(word, f"cannot be read, a quote is not closed: close it, as in {key}=\"'a text'\"")
    return Problem(word, f"cannot be read: a value with special characters stands in quotes, as in \"{key}='{value}'\"")


def key_problem(override: Override, config: str) -> list[Problem]:
    """Give the problem of a key whose first part no config has; ``+`` may add a group."""
    key = str(override.key_or_group)
    first = key.split(".")[0].split("/")[0]
    added = (override.is_add() or override.is_force_add()) and Path(conf_dir(), key).is_dir()
    if first == "hydra" or added or first in known_keys(config):
        return []
    value = "VALUE" if override.is_delete() or override.value_type is None else _typed(override)
    near = get_close_matches(first, known_keys(config), 3)
    near.sort(key=lambda one: not (Path(conf_dir(), one).is_dir() and value in options(one)))  # the option tells it
    if near:
        return [Problem(first, f"there is no such setting: did you mean {near[0]}{key[len(first) :]}={value}?")]
    return [Problem(first, f"there is no such setting: `python {config}.py --help` lists them")]


def option_problems(override: Override) -> list[Problem]:
    """Give the problems of an override of a group that names options which the group does not have."""
    group = str(override.key_or_group)
    if not Path(conf_dir(), group).is_dir() or override.is_delete():
        return []
    if override.is_sweep_override():
        named = list(override.sweep_string_iterator()) if override.is_choice_sweep() else []
        named = [one for one in named if not one.startswith(("[", "'", '"'))]
    else:
        value: Any = override.value()
        named = list(value) if isinstance(value, list) else [value]
    known = options(group)
    names = [str(one) for one in named if one not in (None, "null")]
    return [
        Problem(group, f"there is no {name or 'option without a name'}: {_alternatives(name, known)}")
        for name in names
        if name.removesuffix(".yaml") not in known and "${" not in name
    ]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Give the name that is most like ``name``, None if none is; a part of a name counts as like it.

    >>> nearest("resnet_kl", ["baseline", "exp1_resnet_kl"]), nearest("zzz", ["baseline"])
    ('exp1_resnet_kl', None)
    >>> nearest("resnet21", ["resnet18", "resnet20", "resnet32"])
    'resnet20'
    """
    near = get_close_matches(name, known, 5)
    part = [one for one in known if len(name) > 2 and (name in one or one.rpartition("/")[2].startswith(name[:4]))]
    return max(near, key=lambda one: _alike(one, name)) if near else next(iter(part), None)


@cache
def options(group: str) -> tuple[str, ...]:
    """Give the options of a group of this package's configs, those in folders as ``folder/name``."""
    home = Path(conf_dir(), group)
    return tuple(sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml")))


@cache
def known_keys(config: str) -> tuple[str, ...]:
    """Give the settings and groups at the root of ``conf/<config>.yaml``."""
    root = OmegaConf.load(Path(conf_dir(), f"{config}.yaml"))
    return tuple(sorted({*map(str, root), *_groups(config)} - {"defaults", "hydra"}))


@cache
def _groups(config: str) -> tuple[str, ...]:
    root = OmegaConf.load(Path(conf_dir(), f"{config}.yaml"))
    named = [str(group) for entry in root.defaults if isinstance(entry, DictConfig) for group in entry]
    return tuple(name for name in named if Path(conf_dir(), name).is_dir())


def composition_problem(text: str, keys: Mapping[str, object]) -> Problem | None:
    """Describe a key below the root that the composed config does not have, from Hydra's message about it.

    Args:
        text: Hydra's message.
        keys: The keys that the config has without this override, with their full names.
    """
    if not text.startswith("Could not override '"):
        return None
    key = text.split("'")[1]
    place, _, last = key.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in keys if one.rpartition(".")[0] == place}
    near = beside.get(nearest(last, list(beside)) or "") or next(iter(get_close_matches(key, keys, 1, 0.85)), None)
    if near:
        return Problem(key, f"there is no such setting: did you mean {near}?")
    if beside:
        return Problem(key, f"there is no such setting: {place} has {', '.join(beside)}")
    return Problem(key, f"there is no such setting: nothing of this config is called {place or key}")


def _alike(one: str, other: str) -> int:
    """The number of characters at the beginning that two names share."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _alternatives(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near}?"
    return f"choose {', '.join(known)}" if len(known) <= SHOWN else "`--help` lists them"


def _foreign_options(arguments: Sequence[str]) -> Iterator[Problem]:
    """Options that Hydra does not have; it would take ``--experiment`` for the beginning of one of its own."""
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if not _is_foreign(word) or _is_value(arguments, place):
            continue
        after = arguments[place + 1] if place + 1 < len(arguments) else "VALUE"
        key = name.lstrip("-").replace("-", "_")
        given = value if equals else after if "=" not in after and not after.startswith("-") else "VALUE"
        yield Problem(name, f"settings have no dashes: did you mean {key}={given}?")


def _joined(words: Sequence[str]) -> list[str]:
    """The words, where the pieces of a list that the shell has split at blanks are one again."""
    found: list[str] = []
    for word in words:
        if found and "=" not in word and found[-1].count("[") > found[-1].count("]"):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _is_foreign(word: str) -> bool:
    return _is_option(word) and word.partition("=")[0] not in (*FLAGS, *TAKES_WORD)


def _is_value(arguments: Sequence[str], place: int) -> bool:
    return place > 0 and arguments[place - 1] in TAKES_WORD


def _is_option(word: str) -> bool:
    return word.startswith("-")


def _typed(override: Override) -> str:
    return str(override.input_line).partition("=")[2] if override.input_line else "VALUE"
