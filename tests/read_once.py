"""Hydra reads each yaml once in a process: tests compose hundreds of configs, each of 30 files, and parse most of them.

A file that has changed is read again.
"""

import copy
import functools
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

READ = ConfigRepository.load_config


def read_configs_once() -> None:
    """Keep what Hydra reads from files, in this process."""
    kept: dict[tuple[object, ...], ConfigResult | None] = {}

    @functools.wraps(READ)
    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":  # no isinstance: Hydra imports the classes of its plugins twice
            return READ(self, config_path)
        file = Path(source.path, source._normalize_file_name(config_path)).resolve()
        state = file.stat()
        key = (source.provider, config_path, file, state.st_mtime_ns, state.st_size, state.st_ino)
        if key not in kept:
            kept[key] = READ(self, config_path)
        return copy.deepcopy(kept[key])

    ConfigRepository.load_config = load_config
