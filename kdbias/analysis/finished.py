"""Whether a run folder has the result of its own config, of a training that came to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree, plain, spec_hash
from kdbias.files import printable
from kdbias.runs import run_folder


def finished(folder: Path) -> tuple[Tree, Mapping[str, Any], str]:
    """Give the config and the result of a run, and why it has no result of its own; empty if it has.

    Raises:
        ConfigError: its files cannot be read.
    """
    try:
        saved = plain(run_folder.saved_config(folder))
        facts = json.loads((folder / run_folder.RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, {}, "is not finished"
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"runs: {folder} cannot be read ({error}): leave it out") from error
    if not isinstance(facts, dict):
        raise ConfigError(f"runs: {folder} cannot be read (its {run_folder.RESULT} is no result): leave it out")
    if facts.get("stopped"):
        return saved, facts, f"stopped early ({printable(str(facts['stopped']))})"
    known = facts.get("spec_hash")
    if known is None:
        return saved, facts, "stopped early (its result has no spec hash)"
    if known != (key := spec_hash(saved)) and _begun_anew(folder):
        hashes = f"spec hash {known}, of the config {key}"
        text = f"has the result of another run ({hashes}): its {run_folder.CONFIG} is of one that is not done"
        return saved, facts, text
    return saved, facts, ""


def control_kind(saved: Tree, facts: Mapping[str, Any]) -> str:
    """Give the kind of a run's control, as ``control=KIND`` names it; empty for a run that has none."""
    control = facts.get("control")
    if isinstance(control, Mapping) and "kind" in control:
        return str(control["kind"])
    return str((saved.get("control") or {}).get("_target_", "")).rpartition(".")[2]


def _begun_anew(folder: Path) -> bool:
    """Whether a config was written after the result beside it, as by a run that has begun in its folder since.

    The hash alone does not say so: it is another one, too, where a file of weights that the config names has gone.
    """
    config, result = ((folder / name).stat().st_mtime for name in (run_folder.CONFIG, run_folder.RESULT))
    return config > result + 1
