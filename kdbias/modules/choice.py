"""Which LightningModule trains a run, and what it logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbias.config.build import class_named, selected
from kdbias.modules.base import StudentModule
from kdbias.modules.distill import Distill


def module_class(tree: Mapping[str, Any]) -> type[StudentModule]:
    """Give the class that trains a run; the default one if the config names no known class."""
    return class_named(tree.get("module"), "module", StudentModule) or Distill


def logged(tree: Mapping[str, Any]) -> set[str]:
    """Give the metrics of the validation split that a run logs."""
    found = set(module_class(tree).metrics)
    for _, spec in selected(tree.get("callback") or {}):
        kind = class_named(spec, "callback", object)
        found |= set(getattr(kind, "metrics", ()))
        found |= {name for name, key in getattr(kind, "metrics_where", {}).items() if spec.get(key, True) is not None}
    return found
