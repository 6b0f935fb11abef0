"""The tasks of ``analyze.py``, by name."""

from __future__ import annotations

from importlib import import_module

from omegaconf import DictConfig

from kdbias.config.errors import ConfigError
from kdbias.config.spec import plain
from kdbias.late import put_off

TASKS = (
    "build_stress",
    "compare",
    "cost",
    "demo",
    "evaluate",
    "export",
    "factorial",
    "forensics",
    "list",
    "power",
    "predict",
    "probe",
    "report",
    "show_data",
    "show_stress",
    "status",
    "tensorboard",
)
"""Each is the function of its name in the module of its name: ``kdbias.analysis.<task>.<task>(tree)``."""


def run(cfg: DictConfig) -> None:
    """Run the task that a config names.

    Raises:
        ConfigError: there is no such task, or the task refuses its config.
    """
    tree = plain(cfg)
    task = tree["task"]
    if task not in TASKS:
        raise ConfigError(f"task: no task {task!r}; there are {', '.join(TASKS)}")
    with put_off():
        module = import_module(f"kdbias.analysis.{task}")
    getattr(module, task)(tree)
