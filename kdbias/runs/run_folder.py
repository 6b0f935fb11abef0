"""The state of a run folder: whether its run is done and with which config; its lock, and what may be written there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.renamed import now_named
from kdbias.config.saved import read_saved, require_known_choices
from kdbias.files import holding, is_held, lock
from kdbias.runs.process import JOB
from kdbias.runs.started import first

CONFIG = "config.yaml"
RESULT = "result.json"
LOCK = ".lock"
BEST = Path("checkpoints", "best.ckpt")
LAST = Path("checkpoints", "last.ckpt")
LOG_OF_WANDB = "wandb/*/logs/debug-core.log"
"""A link to a log in the user's cache, which wandb makes in each of its folders. Each start has a new folder, so
nothing is written through a link that is there."""


def result(folder: Path, key: str) -> dict[str, Any] | None:
    """Give the content of a run's ``result.json``; None if it has none with the spec hash ``key``."""
    found = _read_result(folder)
    return found if found.get("spec_hash") == key else None


def stopped(folder: Path, key: str) -> str | None:
    """Give why training of a run with the spec hash ``key`` ended early; None if it did not."""
    found = _read_result(folder)
    return found.get("stopped") if isinstance(found.get("spec"), dict) and found["spec"].get("hash") == key else None


def is_whole(folder: Path) -> bool:
    """Whether training came to its end there: it left the best checkpoint, and a result that names no early stop."""
    found = _read_result(folder)
    return bool(found) and not found.get("stopped") and (folder / BEST).is_file()


def own_or_inside(folder: Path) -> list[Path]:
    """Give a run folder itself, or those directly below a folder of runs.

    Raises:
        ConfigError: it is neither.
    """
    inside = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    found = [folder] if (folder / CONFIG).is_file() else inside
    if not found:
        raise ConfigError(f"runs: {folder} is neither a run folder nor a folder of them")
    return found


def saved_config(folder: Path) -> DictConfig:
    """Give the config that a run saved, with renamed keys under their present names.

    Raises:
        FileNotFoundError: the run saved none.
        ConfigError: the config is damaged, has values that are not plain, or names unknown options.
    """
    tree = now_named(read_saved(folder / CONFIG))
    require_known_choices(tree, folder / CONFIG)
    for node in (
        tree.get("data"),
        (tree.get("teacher") or {}).get("data") if isinstance(tree.get("teacher"), dict) else None,
    ):
        if isinstance(node, dict) and "download" in node:
            node["download"] = False  # a file must not decide where this machine writes data
    found: DictConfig = OmegaConf.create(tree)
    return found


def require_own(folder: Path) -> None:
    """Pass a folder that can be written into without writing elsewhere, or that is not there yet.

    Call it before anything writes into the folder of an earlier run: somebody else may have sent it.

    Raises:
        ConfigError: a part of it is a link to a place outside, its lock is a link, or its folders lie too deep.
    """
    home = folder.resolve()
    try:
        parts = list(folder.rglob("*"))
    except RecursionError as error:
        raise ConfigError(f"{folder} is no run folder: its folders lie too deep in one another") from error
    logs = set(folder.glob(LOG_OF_WANDB))
    for part in parts:
        if part.is_symlink() and part not in logs and not Path(os.path.realpath(part)).is_relative_to(home):
            raise ConfigError(f"{part} is a link to {os.path.realpath(part)}, out of the run folder: remove it")
    if (folder / LOCK).is_symlink():
        raise ConfigError(f"{folder / LOCK} is a link, and taking the lock would empty the file behind it: remove it")


@contextmanager
def dropped_if_refused(folder: Path) -> Iterator[None]:
    """Remove the folder of a command that is refused, or whose teacher fails, if it is empty; the error goes on.

    The folder of a job stays, because the process that waits for it reads there why it failed.
    """
    try:
        yield
    except (ConfigError, RunStopped):
        if JOB not in os.environ:
            drop_empty(folder)
        raise


def drop_empty(folder: Path) -> None:
    """Remove a folder, and those above it that are then empty, if it has Hydra's files, empty logs and a lock alone."""
    if not folder.is_dir():
        return
    logs = [path for path in folder.glob("*.log") if path.is_file() and not path.stat().st_size]
    config, own = folder / ".hydra", folder / LOCK
    if folder.is_symlink() or config.is_symlink() or set(folder.iterdir()) - {*logs, config, own} or is_held(own):
        return
    written = [config / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    if config.is_dir() and set(config.iterdir()) - set(written):
        return
    for path in (*logs, *written, own):
        path.unlink(missing_ok=True)
    for place in (config, folder, *folder.parents[:2]):  # runs/NAME and runs as well, if nothing else is in them
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _read_result(folder: Path) -> dict[str, Any]:
    """The content of ``result.json``; empty if there is none. For a damaged file, also empty, with a message."""
    path = folder / RESULT
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no mapping")
    except (ValueError, RecursionError) as error:
        _say_once(f"{path} is cut short or damaged ({error}): taken as not there")
        return {}
    return found


@cache
def _say_once(line: str) -> None:
    """Print a line once in this process: a study reads the results of its runs several times a second."""
    print(line, flush=True)


def note_choices(cfg: DictConfig) -> None:
    """Put the choices that the config was composed from under ``chosen``; a resumed run keeps its first choices.

    A run's teacher is found or trained with the same choices. Call it inside ``hydra.main``.
    """
    if "chosen" not in cfg:
        hydra = HydraConfig.get()
        choices = {group: hydra.runtime.choices[group] for group in ("data", "trainer")}
        with open_dict(cfg):
            cfg.chosen = {**choices, "overrides": list(hydra.overrides.task)}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, so that its writers take turns; print a message before waiting.

    Raises:
        ConfigError: as ``require_own``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    require_own(folder)
    with holding(folder / LOCK, f"another process is at work in {folder}: waiting for it"):
        yield


@contextmanager
def trained_by_this_process(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder of a run that a command trains, so that no study or second command trains it too.

    A job does nothing here, since the process that started it holds the lock; nor does any but a run's first process.
    On a disk that knows no locks, a message says so, and the run goes on.

    Raises:
        ConfigError: another process holds the lock.
    """
    if JOB in os.environ or not first():
        yield
        return
    held = lock(folder / LOCK)
    try:
        held.acquire(timeout=1)  # who looks whether it is held holds it for a moment
    except Timeout as error:
        text = "another process trains the run in it: let that end first, or choose another folder"
        raise ConfigError(f"{folder}: {text}") from error
    except (OSError, NotImplementedError) as error:
        print(f"{folder / LOCK} cannot be locked ({error}): let no other process train this run", flush=True)
    try:
        yield
    finally:
        held.release()
