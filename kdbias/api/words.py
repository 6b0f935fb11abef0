"""Arguments of Python as the words of a command, so that a call and a command go through the same config."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from kdbias import zoo
from kdbias.checks.words import options
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError
from kdbias.config.quotes import quoted

SEVERAL = ("loss", "callback", "logger", "probe", "stress")  # groups of which a config has any number of options
OWN = {
    "model": "a network of your own is a builder and a yaml (docs/howto/add-a-teacher.md)",
    "data": "images of your own are data=image_folder or a builder (docs/howto/add-a-dataset.md)",
    "loss": "a loss of your own is a builder and a yaml (docs/howto/add-a-loss.md)",
    "probe": "a probe of your own is called as probe(network, batches), or a builder (docs/howto/add-a-probe.md)",
}


def command(named: Mapping[str, Any], settings: Mapping[str, Any] | None) -> list[str]:
    """Give the words for arguments by their key in the config, and for ``settings`` by their full dotted key.

    Raises:
        ConfigError: a value is of a type that no config has.
    """
    found = [word for key, value in named.items() if value is not None for word in chosen(key, value)]
    return [*found, *(f"{key}={written(key, value)}" for key, value in (settings or {}).items())]


def chosen(key: str, value: Any) -> Iterator[str]:
    """Give the words of one argument: a value, or options of a group with settings.

    In a mapping, keys that are options of the group choose them, and their values, mappings again, are their settings.
    The other keys are settings of the group itself.

    >>> list(chosen("loss", {"alpha": 0.7, "ce": {}, "kl": {"temperature": 2}}))
    ['loss=[ce,kl]', 'loss.alpha=0.7', 'loss.kl.temperature=2']
    >>> list(chosen("data", {"cues": {"train": 500}})), list(chosen("trainer", {"precision": "32-true"}))
    (['data=cues', 'data.train=500'], ["trainer.precision='32-true'"])
    """
    if not (key.isidentifier() and Path(conf_dir(), key).is_dir()):
        values = value if isinstance(value, Mapping) else None
        lines = (
            [f"{key}={written(key, value)}"]
            if values is None
            else [f"{key}.{k}={written(k, v)}" for k, v in values.items()]
        )
        yield from lines
    elif isinstance(value, str):
        yield f"{key}=[{written(key, value)}]" if key in SEVERAL else f"{key}={written(key, value)}"
    elif isinstance(value, Mapping):
        yield from _mapping(key, value)
    elif key in SEVERAL and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        yield f"{key}={written(key, list(value))}"
    else:
        text = (
            f"is of the type {type(value).__name__}: give the name of an option, or a mapping of options and settings"
        )
        argument = {"model": "student"}.get(key, key)
        raise ConfigError(f"{argument}: {text}" + (f"; {OWN[key]}" if key in OWN else ""))


def _mapping(group: str, value: Mapping[str, Any]) -> Iterator[str]:
    known = options(group)
    names = [name for name in value if name in known and (group in SEVERAL or isinstance(value[name], Mapping))]
    if group in SEVERAL and names:
        yield f"{group}={written(group, names)}"
    elif len(names) > 1:
        raise ConfigError(f"{group}: there is one only, and {' and '.join(names)} are named: leave all but one out")
    elif names:
        yield f"{group}={written(group, names[0])}"
    for name, setting in value.items():
        if name not in names:
            yield f"{group}.{name}={written(f'{group}.{name}', setting)}"
            continue
        if not isinstance(setting, Mapping):
            raise ConfigError(
                f"{group}: the settings of {name} are of the type {type(setting).__name__}: give a mapping, or {{}}"
            )
        place = f"{group}.{name}" if group in SEVERAL else group
        yield from (f"{place}.{key}={written(f'{place}.{key}', one)}" for key, one in setting.items())


def written(key: str, value: Any) -> str:
    r"""Write a value in Hydra's grammar of overrides; ``key`` is for the error.

    >>> [written("x", one) for one in (None, True, 1e-3, "cues", "null", "it's", ["a", 1], {"b": "2 px"})]
    ['null', 'true', '0.001', 'cues', "'null'", "'it\\'s'", '[a,1]', "{b:'2 px'}"]

    Raises:
        ConfigError: the value is of a type that no config has.
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{written(key, one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(key, one) for one in value) + "]"
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, str):
        typed = value.lower() in ("null", "true", "false", "nan", "inf")
        plain = re.fullmatch(r"[A-Za-z_][\w./]*", value, re.ASCII) is not None and not typed
        return value if plain else quoted(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    raise ConfigError(
        f"{key}: is of the type {type(value).__name__}: give a number, a text, true or false, a list or a mapping"
    )


def taught_by(teacher: Any) -> list[str]:
    """Give the words for a teacher: the name of an option, a mapping, or a run, checkpoint or network of the zoo.

    Raises:
        ConfigError: it is none of these.
        FileNotFoundError, ValueError: the checkpoint is not there, or none of this package.
    """
    named = isinstance(teacher, str) and (teacher in options("teacher") or not _leads(teacher))
    if teacher is None or named or not isinstance(teacher, str | PathLike):
        return [] if teacher is None else list(chosen("teacher", teacher))
    from kdbias.models.checkpoint import architecture, checkpoint_file, read_spec

    spec, path = read_spec(teacher), checkpoint_file(teacher)
    name = re.sub(r"\W+", "_", str(spec.get("name") or path.stem))
    node = {"name": name, "model": architecture(spec["model"]), "weights": str(path.absolute())}
    return ["teacher=none", *(f"teacher.{key}={written(key, value)}" for key, value in node.items())]


def _leads(named: str) -> bool:
    return Path(named).exists() or named in zoo.names()


def listed(value: str | Sequence[str] | Mapping[str, Any]) -> Any:
    """Give the names of probes as a group takes them: a single name is a list of one."""
    return [value] if isinstance(value, str) else value
