"""What decides the result of a run: the resolved config without paths, logging and hardware, and a hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from kdbias.config.conf import conf_dir
from kdbias.config.control import teacher_use
from kdbias.config.kept import EPOCHS, kept_as, put_kept
from kdbias.config.renamed import once_named
from kdbias.config.stress_names import put_stress
from kdbias.files import digest

Tree = Mapping[str, Any]
"""A resolved config as plain types, as ``plain`` gives it."""

# Keys that do not change the result: where files lie, what is shown and measured during training, and the hardware. Two
# runs that differ only in these keys are the same run: a sweep does not repeat it, and a resumed run may change them.
# Precision and the limits of a smoke run change the result, so they are not listed.
NEUTRAL = (
    "hydra",
    "paths",
    "logger",
    "name",
    "resume",
    "chosen",
    "preset",
    "compile",
    "eval_batch_size",
    "probe_images",
    "aim",
    "allow",
    "data.root",
    "data.download",
    "loader._target_",
    "loader.num_workers",
    "loader.prefetch",
    "loader.prefetch_factor",
    "loader.start",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every",
    "trainer.timeout",
    "callback.*.folder",
    "callback.checkpoint_last",
    "callback.progress",
    "callback.throughput",
    "callback.probe*",
    "teacher.data.root",
    "teacher.data.download",
)


def plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Give the resolved config as str, int, float, bool, None, list and dict only, as a checkpoint stores it.

    Raises:
        TypeError: a value is of another type; the error names its key.
        omegaconf.errors.OmegaConfBaseException: an interpolation does not resolve.
    """
    return _plain_dict(_config(cfg), "", ())


def deciding(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Give ``plain(cfg)`` without the keys of ``NEUTRAL``, and without ``data.part`` if it is not set.

    It does not read keys of ``NEUTRAL``: some resolve only in a running job.

    Raises:
        TypeError, omegaconf.errors.OmegaConfBaseException: as ``plain``.
    """
    found = _plain_dict(_config(cfg), "", NEUTRAL)
    for data in (_node(found, "data"), _node(_node(found, "teacher"), "data")):
        if data.get("part") is None:  # as before there was such a setting
            data.pop("part", None)
    trainer = _node(found, "trainer")
    for key in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if type(trainer.get(key)) is float and trainer[key] == 1:  # all of them, as null; 1 is a single one
            trainer[key] = None
    return found


def spec(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Give ``deciding(cfg)`` with the content of files instead of their names.

    These files are the weights of the networks and of loss terms, the recipe of a teacher without weights, and the
    stress sets of the views. A file
    that does not exist, or a recipe from outside this package, keeps its name. A teacher that the control does not use
    is left out, except for the settings that the control keeps. The teachers that the control names are added as
    ``control.teachers``.
    Whole floats become ints, so that 1 and 1.0 are the same.
    """
    found: dict[str, Any] = _whole(deciding(cfg))
    if found.get("init") is None:  # as before there was such a setting
        found.pop("init", None)
    elif Path(str(found["init"])).is_file():
        found["init"] = "sha256:" + digest(Path(str(found["init"])))
    teacher, control, augment = (_node(found, key) for key in ("teacher", "control", "augment"))
    for node in (
        teacher,
        _node(teacher, "model"),
        _node(found, "model"),
        _node(_node(found, "module"), "head"),
        *_nodes(control),
        *_nodes(_node(found, "loss")),
    ):
        weights = node.get("weights")
        if isinstance(weights, str) and Path(weights).is_file():
            node["weights"] = "sha256:" + digest(Path(weights))
    _put_recipe(teacher)
    _drop_unset(teacher, found.get("seed"))
    if control.get("batch_size") is None:  # as before same_family had it
        control.pop("batch_size", None)
    put_stress(augment)
    augment |= _whole(augment)
    use = teacher_use(found)
    if not use.uses_teacher:
        kept = [*use.keeps_of_teacher, "cache", "cache_seed"]
        if use.answers_kept and kept_as(teacher) != kept_as({**teacher, "cache_dtype": "auto"}):
            kept.append("cache_dtype")
        if not use.answers_kept and teacher.get("cache") == EPOCHS and "cache_seed" not in teacher:
            kept.remove(
                "cache"
            )  # it was there for answers that are not exact, and the draws are those of a run without
        found["teacher"] = {key: teacher[key] for key in kept if key in teacher}
    teachers = {name: _named_teacher(name, weights) for name, weights in use.teachers_named(control)}
    if teachers:
        control["teachers"] = teachers
    return found


def spec_hash(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Give 16 hex digits of the SHA-256 of ``spec(cfg)``; it is the same in every process and key order."""
    return hashlib.sha256(json.dumps(once_named(spec(cfg)), sort_keys=True).encode()).hexdigest()[:16]


def differences(saved: DictConfig | Mapping[str, Any], now: DictConfig | Mapping[str, Any]) -> list[str]:
    """Give one line ``key: saved value -> value now`` for each key in which the specs of two configs differ."""
    before, after = flat(spec(saved)), flat(spec(now))
    keys = sorted(before.keys() | after.keys())
    absent = "(absent)"
    return [
        f"{key}: {before.get(key, absent)!r} -> {after.get(key, absent)!r}"
        for key in keys
        if before.get(key, absent) != after.get(key, absent)
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give ``{"a.b": value}`` for nested dicts; lists and empty dicts are values."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _node(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping at a key, to change it in place; an empty one if there is none."""
    node = tree.get(key)
    return node if isinstance(node, dict) else {}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A mapping and all mappings inside it, to change them in place."""
    yield node
    for value in node.values():
        if isinstance(value, dict):
            yield from _nodes(value)


def _put_recipe(teacher: dict[str, Any]) -> None:
    """Add a hash of the recipe's content to its name, if the recipe trains the teacher."""
    recipe = Path(conf_dir(), "experiment", f"{teacher.get('recipe')}.yaml")
    if teacher.get("weights") is None and recipe.is_file():
        teacher["recipe"] = f"{teacher['recipe']}@{digest(recipe)[:12]}"


def _drop_unset(teacher: dict[str, Any], seed: int | None = None) -> None:
    """Leave out settings that are not set: configs from before them keep their hash."""
    if teacher.get("batch_size") is None:
        teacher.pop("batch_size", None)
    put_kept(teacher, seed)


def _named_teacher(name: str, weights: Any) -> dict[str, Any]:
    """The content of a teacher's config, unresolved, with its weights; without weights, its recipe has a hash."""
    path = Path(conf_dir(), "teacher", f"{name}.yaml")
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    teacher = {**_whole(content), "weights": weights or content.get("weights")}
    _put_recipe(teacher)
    _drop_unset(teacher)
    return teacher


def _config(cfg: DictConfig | Mapping[str, Any]) -> DictConfig:
    return cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))


def _plain_dict(node: DictConfig, prefix: str, skip: tuple[str, ...]) -> dict[str, Any]:
    """Resolve a node key by key, so that skipped keys (such as those that only a running job resolves) stay unread."""
    out: dict[str, Any] = {}
    for key in node:
        path = f"{prefix}{key!s}"
        if not any(fnmatchcase(path, pattern) for pattern in skip):
            out[str(key)] = "???" if OmegaConf.is_missing(node, key) else _plain(node[key], path, skip)
    return out


def _plain(value: Any, path: str, skip: tuple[str, ...]) -> Any:
    if isinstance(value, DictConfig):
        return _plain_dict(value, f"{path}.", skip)
    if isinstance(value, dict):  # what a resolver gives
        return {str(key): _plain(item, f"{path}.{key}", skip) for key, item in value.items()}
    if isinstance(value, ListConfig):
        return [_plain(item, path, skip) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{path} must be str, int, float, bool, None, a list or a dict, got {type(value).__name__}")


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
