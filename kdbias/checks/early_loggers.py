"""Loggers of tracking services: packages that are not installed, and ways of logging that there are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from kdbias.config.errors import Problem

PACKAGES = {
    "kdbias.modules.wandb_logger.wandb": ("wandb", ("wandb",)),
    "kdbias.modules.mlflow_logger.mlflow": ("mlflow", ("mlflow", "sqlalchemy", "alembic")),
}
"""The extra of each logger that needs one, and the packages that come with it."""
MODES = ("offline", "online", "disabled")


def logger_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of loggers whose packages are not installed, and of a mode that wandb does not have."""
    loggers = tree.get("logger")
    for name, node in loggers.items() if isinstance(loggers, Mapping) else ():
        extra, packages = PACKAGES.get(str(node.get("_target_")), ("", ())) if isinstance(node, Mapping) else ("", ())
        if missing := [one for one in packages if not installed(one)]:
            text = f"needs {', '.join(missing)}: pip install 'kdbias[{extra}]', or leave {name} out of logger=[...]"
            yield Problem(f"logger.{name}", text)
        if extra == "wandb" and node.get("mode", "offline") not in MODES:
            known = f"choose {', '.join(MODES)}, by logger.{name}.mode or WANDB_MODE"
            yield Problem(f"logger.{name}.mode", f"there is no mode {node['mode']!r}: {known}")


def installed(package: str) -> bool:
    """Whether a package can be imported; a mere folder of its name, such as wandb makes where it runs, is none."""
    found = find_spec(package)
    return found is not None and found.origin is not None
