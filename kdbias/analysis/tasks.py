"""The tasks of ``analyze.py``, by name."""

from __future__ import annotations

from importlib import import_module

from omegaconf import DictConfig

from kdbias.config.errors import ConfigError

TASKS = ("compare", "demo", "evaluate", "factorial", "forensics", "predict", "probe", "show_data")
"""Each is the function of its name in the module of its name: ``kdbias.analysis.<task>.<task>(cfg)``."""


def run(cfg: DictConfig) -> None:
    """Do the task that the config names.

    Raises:
        ConfigError: there is no such task, or nothing to look at.
    """
    if cfg.task not in TASKS:
        raise ConfigError(f"task: no task {cfg.task!r}; there are {', '.join(TASKS)}")
    getattr(import_module(f"kdbias.analysis.{cfg.task}"), cfg.task)(cfg)
