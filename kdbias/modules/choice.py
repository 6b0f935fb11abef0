"""Which LightningModule trains a run, and what it logs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.errors import HydraException

from kdbias.config.build import selected, target
from kdbias.modules.base import StudentModule
from kdbias.modules.distill import Distill


def module_class(tree: Mapping[str, Any]) -> type[StudentModule]:
    """Give the class that trains a run; the default one if the config names no known class."""
    spec = tree.get("module")
    if isinstance(spec, Mapping) and "_target_" in spec:
        try:
            found = target(spec, "module")
        except (ImportError, ValueError, HydraException):  # the check of targets says so
            return Distill
        if inspect.isclass(found) and issubclass(found, StudentModule):
            return found
    return Distill


def logged(tree: Mapping[str, Any]) -> set[str]:
    """Give the metrics of the validation split that a run logs."""
    found = set(module_class(tree).metrics)
    for _, spec in selected(tree.get("callback") or {}):
        try:
            kind = target(spec, "callback")
        except (ImportError, ValueError, HydraException):
            continue
        found |= set(getattr(kind, "metrics", ()))
        found |= {name for name, key in getattr(kind, "metrics_where", {}).items() if spec.get(key, True) is not None}
    return found
