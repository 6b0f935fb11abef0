"""Hydra composes what files say once in a process of pytest: tests compose thousands of configs, of 30 files each.

What is kept depends on the sources, their files as they are now, the program and the options of groups. The values that
a command sets come after it, each time. A file that has changed is read again.
"""

import functools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra import version
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

READ = ConfigRepository.load_config
LISTED: Callable[..., DefaultsList] = config_loader_impl.create_defaults_list
JOINED = ConfigLoaderImpl._compose_config_from_defaults_list
CHOICES: Callable[..., DictConfig] = defaults_list._create_interpolation_map


def read_configs_once() -> None:
    """Keep what Hydra reads from files and how it joins them, in this process."""
    ConfigRepository.load_config = _reader({})
    config_loader_impl.create_defaults_list = _lister({})
    ConfigLoaderImpl._compose_config_from_defaults_list = _joiner({}, {})
    defaults_list._create_interpolation_map = _choices
    version._get_version = functools.cache(version._get_version)  # Hydra reads "1.2" 500 times a composition


def _reader(kept: dict[Any, bytes]) -> Callable[..., ConfigResult | None]:
    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        scheme = None if source is None else source.scheme()  # its class says less: Hydra imports its plugins twice
        if source is None or scheme not in ("file", "pkg"):
            return READ(self, config_path)
        key: tuple[Any, ...] = (source.provider, config_path, source.path)
        if scheme == "file":
            file = Path(source.path, source._normalize_file_name(config_path)).resolve()
            state = file.stat()
            key = (*key, file, state.st_mtime_ns, state.st_size, state.st_ino)
        if key not in kept:
            kept[key] = pickle.dumps(READ(self, config_path))
        return pickle.loads(kept[key])  # four times as fast as a deep copy

    return load_config


def _lister(kept: dict[Any, DefaultsList]) -> Callable[..., DefaultsList]:
    def create_defaults_list(
        repo: Any, config_name: str | None, overrides_list: list[Override], prepend_hydra: bool, skip_missing: bool
    ) -> DefaultsList:
        given = Overrides(repo=repo, overrides_list=overrides_list)
        options = (given.override_choices, given.append_group_defaults, given.deletions)
        how = (config_name, prepend_hydra, skip_missing, version.getbase())
        key = (how, repr(options), tuple(map(_state, repo.get_sources())))
        if key not in kept:
            kept[key] = LISTED(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        found = kept[key]
        return DefaultsList(found.defaults, found.defaults_tree, given.config_overrides, found.overrides)

    return create_defaults_list


def _joiner(kept: dict[int, tuple[bytes, list[ResultDefault]]], begun: dict[Any, bytes]) -> Callable[..., DictConfig]:
    """Join the configs of a list; those of Hydra itself come first, are half of the work, and the same in most."""

    def joined(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        own = [place for place, one in enumerate(defaults) if not str(one.config_path).startswith("hydra/")]
        first = own[0] if own else 0
        key = (repr(defaults[:first]), tuple(map(_state, repo.get_sources())))
        if key not in begun:
            begun[key] = pickle.dumps(JOINED(self, defaults[:first], repo))
        start = SimpleNamespace(config=pickle.loads(begun[key]))

        def load(default: ResultDefault | None, repo: Any) -> Any:
            return start if default is None else self._load_single_config(default=default, repo=repo)

        return JOINED(SimpleNamespace(_load_single_config=load), [None, *defaults[first:]], repo)

    def compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        if id(defaults) not in kept:  # the list itself is kept too, so that no other gets its id
            kept[id(defaults)] = pickle.dumps(joined(self, defaults, repo)), defaults
        return pickle.loads(kept[id(defaults)][0])

    return compose


def _choices(overrides: Overrides, defaults: list[InputDefault], self_added: bool) -> DictConfig | None:
    """What is chosen so far: made for each file, it is a third of the time of a list, and few lists refer to it."""
    return CHOICES(overrides, defaults, self_added) if any(one.is_interpolation() for one in defaults) else None


def _state(source: ConfigSource) -> tuple[Any, ...]:
    """What a source has to give now: the files of a folder, what programs stored; a package does not change."""
    about = (source.provider, source.scheme(), source.path)
    if source.scheme() == "file":
        return *about, *_files(source.path)
    return (*about, *_nodes(ConfigStore.instance().repo)) if source.scheme() == "structured" else about


def _files(folder: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if os.path.isdir(folder) else ():
        if entry.is_dir():
            found += [(entry.path,), *_files(entry.path)]
        else:
            state = entry.stat()
            found.append((entry.path, state.st_mtime_ns, state.st_size, state.st_ino))
    return found


def _nodes(stored: Any, place: str = "") -> list[tuple[Any, ...]]:
    if not isinstance(stored, dict):
        return [(place, id(stored))]
    return [one for name, inner in stored.items() for one in _nodes(inner, f"{place}/{name}")]
